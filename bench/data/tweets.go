package data

import (
	"fmt"
	"math/rand/v2"
)

// words are what texts are made of, with the escapes of JSON in them.
var words = []string{
	"一緒に", "今日は", "本当に", "ありがとう", "ございます", "名前", "画像", "動画", "フォロー", "お願いします", "週末", "天気", "電車", "最高", "無理", "楽しい",
	"the", "and", "breaking", "https:\\/\\/t.co\\/", "new", "morning", "\\u3042\\u3044", "\\ud83d\\ude00", "\\\"quoted\\\"", "line\\nbreak", "RT", "data", "lake", "stream",
}

// tweet appends objects in the shape of the search API of 2014.
type tweet struct {
	r *rand.Rand
	b []byte
}

func tweets(seed uint64) Set {
	return func(b []byte, i int) []byte {
		t := &tweet{r: rand.New(rand.NewPCG(seed, uint64(i))), b: b}
		t.status(i, true)
		return t.b
	}
}

func (t *tweet) f(format string, args ...any) { t.b = fmt.Appendf(t.b, format, args...) }

func (t *tweet) text(key string, n int) {
	t.f(`,%q:"`, key)
	for i := range n {
		if i > 0 && t.r.IntN(3) == 0 {
			t.b = append(t.b, ' ')
		}
		t.b = append(t.b, words[t.r.IntN(len(words))]...)
	}
	t.b = append(t.b, '"')
}

func (t *tweet) id(key string) {
	id := 505_870_000_000_000_000 + t.r.Int64N(4_999_999_999_999)
	t.f(`,%q:%d,"%s_str":"%d"`, key, id, key, id)
}

func (t *tweet) flag(key string, percent int) { t.f(`,%q:%t`, key, t.r.IntN(100) < percent) }

func (t *tweet) count(key string, most int) { t.f(`,%q:%d`, key, t.r.IntN(most)) }

// maybe appends a value for some percent of the records, null for the others.
func (t *tweet) maybe(key string, percent int, value func()) {
	t.f(`,%q:`, key)
	if t.r.IntN(100) < percent {
		value()
	} else {
		t.b = append(t.b, "null"...)
	}
}

func (t *tweet) time(i int) string {
	return start.AddDate(0, 0, i%28).Format("Mon Jan 02 15:04:05 -0700 2006")
}

func (t *tweet) status(i int, whole bool) {
	t.f(`{"metadata":{"result_type":"recent","iso_language_code":"ja"},"created_at":%q`, t.time(i))
	t.id("id")
	t.text("text", 8+t.r.IntN(30))
	t.f(`,"source":"<a href=\"http:\/\/twitter.com\/download\/%s\" rel=\"nofollow\">Twitter for %[1]s<\/a>"`, pick(t.r, "iPhone", "Android", "web"))
	t.flag("truncated", 2)
	for _, key := range []string{"in_reply_to_status_id", "in_reply_to_user_id"} {
		id := t.r.Int64N(3_000_000_000)
		t.maybe(key, 20, func() { t.f("%d", id) })
		t.maybe(key+"_str", 20, func() { t.f(`"%d"`, id) })
	}
	t.maybe("in_reply_to_screen_name", 20, func() { t.f(`"user_%d"`, t.r.IntN(100_000)) })
	t.user(i)
	t.b = append(t.b, `,"geo":null,"coordinates":null,"place":null,"contributors":null`...)
	if whole && t.r.IntN(100) < 60 {
		t.b = append(t.b, `,"retweeted_status":`...)
		t.status(i/7, false)
	}
	t.count("retweet_count", 50_000)
	t.count("favorite_count", 900)
	t.entities()
	t.flag("favorited", 1)
	t.flag("retweeted", 1)
	t.flag("possibly_sensitive", 4)
	t.f(`,"lang":%q}`, pick(t.r, "ja", "ja", "ja", "en", "zh"))
}

func (t *tweet) user(i int) {
	t.b = append(t.b, `,"user":{"kind":"user"`...)
	t.id("id")
	t.text("name", 2)
	t.f(`,"screen_name":"user_%d"`, t.r.IntN(100_000))
	t.text("location", t.r.IntN(3))
	t.text("description", t.r.IntN(30))
	t.maybe("url", 30, func() { t.f(`"http:\/\/t.co\/%x"`, t.r.Uint64()>>24) })
	t.f(`,"entities":{"url":{"urls":[{"url":"http:\/\/t.co\/%x","display_url":"example.com\/%[1]x","indices":[0,22]}]},"description":{"urls":[]}}`, t.r.Uint64()>>24)
	t.flag("protected", 1)
	for _, key := range []string{"followers_count", "friends_count", "listed_count", "favourites_count", "statuses_count"} {
		t.count(key, 90_000)
	}
	t.f(`,"created_at":%q`, t.time(i/3))
	t.maybe("utc_offset", 40, func() { t.b = append(t.b, "32400"...) })
	t.maybe("time_zone", 40, func() { t.f("%q", pick(t.r, "Tokyo", "Irkutsk", "Hawaii")) })
	for _, key := range []string{"geo_enabled", "verified", "contributors_enabled", "is_translator", "is_translation_enabled", "profile_background_tile", "profile_use_background_image", "default_profile", "default_profile_image", "following", "follow_request_sent", "notifications"} {
		t.flag(key, 30)
	}
	t.f(`,"lang":%q`, pick(t.r, "ja", "en"))
	for _, key := range []string{"profile_background_color", "profile_link_color", "profile_sidebar_border_color", "profile_sidebar_fill_color", "profile_text_color"} {
		t.f(`,%q:%q`, key, pick(t.r, "C0DEED", "0084B4", "FFFFFF", "DDEEF6", "333333", "131516"))
	}
	for _, key := range []string{"profile_background_image_url", "profile_background_image_url_https", "profile_image_url", "profile_image_url_https", "profile_banner_url"} {
		t.f(`,%q:"https:\/\/pbs.twimg.com\/profile_images\/%d\/%x_normal.jpeg"`, key, t.r.Int64N(1e18), t.r.Uint32())
	}
	t.b = append(t.b, '}')
}

func (t *tweet) entities() {
	t.b = append(t.b, `,"entities":{"hashtags":[`...)
	for i := range t.r.IntN(3) {
		if i > 0 {
			t.b = append(t.b, ',')
		}
		t.f(`{"kind":"tag"`)
		t.text("text", 1)
		t.f(`,"indices":[%d,%d]}`, i, i+9)
	}
	t.b = append(t.b, `],"symbols":[],"urls":[`...)
	if t.r.IntN(2) == 0 {
		t.f(`{"url":"http:\/\/t.co\/%x","expanded_url":"http:\/\/example.com\/%[1]x","display_url":"example.com\/%[1]x","indices":[10,32]}`, t.r.Uint64()>>24)
	}
	t.b = append(t.b, `],"user_mentions":[`...)
	for i := range t.r.IntN(3) {
		if i > 0 {
			t.b = append(t.b, ',')
		}
		t.f(`{"screen_name":"user_%d"`, t.r.IntN(100_000))
		t.text("name", 2)
		t.id("id")
		t.f(`,"indices":[%d,%d]}`, i, i+14)
	}
	t.b = append(t.b, ']')
	if t.r.IntN(4) == 0 {
		t.b = append(t.b, `,"media":[{"type":"photo"`...)
		t.id("id")
		t.f(`,"indices":[91,113],"media_url":"http:\/\/pbs.twimg.com\/media\/%x.jpg"`, t.r.Uint64())
		t.b = append(t.b, `,"sizes":{"medium":{"w":600,"h":450,"resize":"fit"},"small":{"w":340,"h":255,"resize":"fit"},"thumb":{"w":150,"h":150,"resize":"crop"},"large":{"w":1024,"h":768,"resize":"fit"}}}]`...)
	}
	t.b = append(t.b, '}')
}
