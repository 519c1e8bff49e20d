package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func TestDirectoryForgetsSlowly(t *testing.T) {
	d := newDirectory(nil, Config{Topics: []string{"t"}})
	see := func(ts ...kadm.TopicDetail) {
		t.Helper()
		m := kadm.Metadata{Cluster: "c", Topics: kadm.TopicDetails{}}
		for _, td := range ts {
			m.Topics[td.Topic] = td
		}
		if err := d.take(m); err != nil {
			t.Fatal(err)
		}
	}
	has := func(what string, want bool) {
		t.Helper()
		if got := d.topic("t") != nil; got != want {
			t.Errorf("%s: known %v, want %v", what, got, want)
		}
	}
	id := kadm.TopicID{1}
	see(kadm.TopicDetail{Topic: "t", ID: id})
	has("there", true)
	see(kadm.TopicDetail{Topic: "t", Err: kerr.UnknownTopicOrPartition})
	has("gone for a moment", true)
	see(kadm.TopicDetail{Topic: "t", Err: kerr.LeaderNotAvailable})
	has("not loaded", true)
	d.grace = 0
	see()
	has("gone", false)
	if name := d.name(incarnation("t", id)); name != "t" {
		t.Errorf("its name is %q", name)
	}
	if err := d.take(kadm.Metadata{Cluster: "c", Topics: kadm.TopicDetails{"t": {Topic: "t", Err: kerr.TopicAuthorizationFailed}}}); err == nil {
		t.Error("not allowed to see the topic, and no error")
	}
}

func TestStallsAreReportedOnce(t *testing.T) {
	r := &reader{}
	r.mu.next, r.mu.high = 10, 20
	now := time.Now()
	f := func(stable int64, after time.Duration, want bool) {
		t.Helper()
		if got := r.stalls(stable, now.Add(after)); got != want {
			t.Errorf("stable %d after %v: %v", stable, after, got)
		}
	}
	f(10, 0, false)
	f(10, stallAfter-1, false)
	f(10, stallAfter, true)
	f(10, 2*stallAfter, false)
	f(15, 3*stallAfter, false) // it was decided
	f(10, 4*stallAfter, false) // another one
	f(10, 5*stallAfter, true)
	r.mu.next = 20
	f(20, 9*stallAfter, false) // all is read
}
