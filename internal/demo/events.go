package demo

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// events writes the records of the demo: the shop's orders, page views, payments
// and sign-ups as nested JSON. Fields come and go as the stream goes on, now and
// then a value has another type than usual, and some records are broken. The
// same seed and total give the same records.
type events struct {
	words
	rng   *rand.Rand
	total int
	at    time.Time
}

func newEvents(seed uint64, total int) *events {
	return &events{
		words: newWords(), rng: rand.New(rand.NewPCG(seed, 0xf17e405ed)), total: total,
		at: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC),
	}
}

// Every brokenEvery-th record, from the brokenFirst-th on, is a dead letter.
const (
	brokenEvery = 251
	brokenFirst = 17
	brokenKinds = 7
)

func isBroken(i int) bool { return i%brokenEvery == brokenFirst }

// broken returns what no table can take as a row: record i is a single unit that is
// one of seven kinds of wrong. good is what it would have been.
func broken(i int, good []byte) []byte {
	switch i / brokenEvery % brokenKinds {
	case 0: // cut off
		return good[:len(good)*2/3]
	case 1: // no object
		return []byte(`42`)
	case 2: // a key twice
		return []byte(`{"id":1,"type":"page_view","id":2}`)
	case 3: // Latin-1
		return []byte("{\"type\":\"signup\",\"name\":\"J\xf6rg\"}")
	case 4: // no JSON
		return []byte(`{"type":"payment","amount":NaN}`)
	case 5: // nothing like it
		return []byte("oops, a log line went into the wrong topic")
	default: // quotes of another language
		return append([]byte(`{"type":"order",'single':`), good[1:]...)
	}
}

// record returns record i. Records are asked for in order, each once.
func (e *events) record(i int) []byte {
	e.at = e.at.Add(time.Duration(e.rng.IntN(400)) * time.Millisecond)
	b := e.event(make([]byte, 0, 512), i)
	if isBroken(i) {
		return broken(i, b)
	}
	return b
}

// after reports whether the stream is past that percentage of itself.
func (e *events) after(i, percent int) bool { return i*100 >= e.total*percent }

func (e *events) event(b []byte, i int) []byte {
	r := e.rng
	b = fmt.Appendf(b, `{"id":"evt-%08x-%06x","type":`, r.Uint32(), i)
	kind := r.IntN(10)
	switch {
	case kind < 5:
		b = append(b, `"page_view"`...)
	case kind < 8:
		b = append(b, `"order"`...)
	case kind < 9:
		b = append(b, `"payment"`...)
	default:
		b = append(b, `"signup"`...)
	}
	b = append(b, `,"occurred_at":"`...)
	b = e.at.AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, '"')
	b = e.customer(b, i)
	switch {
	case kind < 5:
		b = e.pageView(b, i)
	case kind < 8:
		b = e.order(b, i)
	case kind < 9:
		b = fmt.Appendf(b, `,"payment":{"order_id":%d,"method":%q,"amount":%d.%02d,"succeeded":%t}`,
			r.IntN(1_000_000), pick(r, e.methods), 3+r.IntN(400), r.IntN(100), r.IntN(20) > 0)
	default:
		b = fmt.Appendf(b, `,"signup":{"source":%q,"newsletter":%t,"referrer":null}`, pick(r, e.sources), r.IntN(2) == 0)
	}
	if e.after(i, 70) {
		b = fmt.Appendf(b, `,"region":%q`, pick(r, e.regions))
	}
	return append(b, '}')
}

func (e *events) customer(b []byte, i int) []byte {
	r := e.rng
	id := r.IntN(50_000)
	b = append(b, `,"customer":{"id":`...)
	if r.IntN(150) == 0 { // a client that sends text: rescued
		b = fmt.Appendf(b, `"guest-%d"`, id)
	} else {
		b = strconv.AppendInt(b, int64(id), 10)
	}
	b = fmt.Appendf(b, `,"name":%q,"vip":%t`, pick(r, e.names), id%37 == 0)
	b = fmt.Appendf(b, `,"address":{"city":%q,"country":%q`, pick(r, e.cities), pick(r, e.countries))
	if e.after(i, 50) {
		b = fmt.Appendf(b, `,"postcode":"%05d"`, r.IntN(100_000))
	}
	b = append(b, '}')
	if e.after(i, 30) {
		b = fmt.Appendf(b, `,"loyalty":{"points":%d,"tier":%q}`, r.IntN(9_000), pick(r, e.tiers))
	}
	return append(b, '}')
}

func (e *events) pageView(b []byte, i int) []byte {
	r := e.rng
	b = fmt.Appendf(b, `,"page":{"url":"https://shop.example/p/%d","ms":%d.%d}`, r.IntN(5_000), 20+r.IntN(900), r.IntN(10))
	b = fmt.Appendf(b, `,"device":{"os":%q,"browser":%q`, pick(r, e.systems), pick(r, e.browsers))
	if e.after(i, 20) {
		b = fmt.Appendf(b, `,"screen":{"width":%d,"height":%d}`, 360+r.IntN(2_000), 640+r.IntN(1_000))
	}
	if e.after(i, 60) && r.IntN(2) == 0 {
		b = fmt.Appendf(b, `,"app_version":"4.%d.%d"`, r.IntN(9), r.IntN(30))
	}
	return append(b, '}')
}

func (e *events) order(b []byte, i int) []byte {
	r := e.rng
	b = fmt.Appendf(b, `,"order":{"number":%d,"currency":%q,"items":[`, r.IntN(1_000_000), pick(r, e.currencies))
	for k := range 1 + r.IntN(4) {
		if k > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"sku":"SKU-%05d","quantity":%d,"price":%d.%02d`, r.IntN(20_000), 1+r.IntN(5), 1+r.IntN(300), r.IntN(100))
		if e.after(i, 40) && r.IntN(3) == 0 {
			b = fmt.Appendf(b, `,"discount":{"code":"SAVE%d","percent":%d}`, 5*(1+r.IntN(6)), 5*(1+r.IntN(6)))
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	if r.IntN(8) == 0 {
		b = fmt.Appendf(b, `,"note":%q`, pick(r, e.notes))
	}
	if e.after(i, 80) {
		b = fmt.Appendf(b, `,"gift":%t`, r.IntN(10) == 0)
	}
	return append(b, '}')
}

func pick(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

// words are what values are chosen from.
type words struct {
	names, cities, countries, tiers, methods, sources, regions, systems, browsers, currencies, notes []string
}

func newWords() words {
	return words{
		names:      []string{"Ada Okafor", "Bjørn Dahl", "Chloé Martin", "Đặng Minh", "Eva Nováková", "佐藤 花子", "Gül Şahin", "Ólafur Jónsson", "Priya Nair", "Zoë de Vries"},
		cities:     []string{"Lagos", "Oslo", "Lyon", "Đà Nẵng", "Brno", "札幌", "İzmir", "Reykjavík", "Kochi", "Utrecht"},
		countries:  []string{"NG", "NO", "FR", "VN", "CZ", "JP", "TR", "IS", "IN", "NL"},
		tiers:      []string{"none", "silver", "gold"},
		methods:    []string{"card", "transfer", "wallet", "invoice"},
		sources:    []string{"search", "friend", "advert", "store"},
		regions:    []string{"emea", "apac", "amer"},
		systems:    []string{"android", "ios", "linux", "macos", "windows"},
		browsers:   []string{"chrome", "edge", "firefox", "safari"},
		currencies: []string{"EUR", "JPY", "NGN", "NOK", "USD"},
		notes:      []string{"Please ring twice.", "Für die Nachbarn: \"bitte\" klingeln", "leave at the door 🚪", "línea 1\nlínea 2"},
	}
}
