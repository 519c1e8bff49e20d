package pipeline

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPackComesBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	position := func() Position {
		switch rng.IntN(6) {
		case 0:
			return End
		case 1:
			return "!1700000000000"
		case 2:
			return ""
		case 3:
			return Position(fmt.Sprintf("%060d", rng.Uint64()))
		}
		return Position(fmt.Sprintf("%019d", rng.Int64N(4e9)))
	}
	for range 500 {
		v := Vector{}
		for range rng.IntN(60) {
			p := Partition{"kafka", fmt.Sprint("c:", rng.IntN(2)), fmt.Sprint("topic ", rng.IntN(3)), fmt.Sprint(rng.IntN(1000))}
			m := Mark{At: Cursor{position(), int32(rng.IntN(5))}}
			if rng.IntN(3) > 0 {
				m.Floor = position()
			}
			v[p] = m
		}
		src := v.Streams([]string{"kafka:gone:x"})
		got, err := UnpackVector(v.Pack(src), src)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(v, got); d != "" {
			t.Fatal(d)
		}
	}
}

func TestPackIsSmall(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	v := Vector{}
	for i := range 1000 {
		at := rng.Int64N(4e9)
		v[Partition{"kafka", "cluster", "topic", fmt.Sprint(i)}] = Mark{
			Cursor{Position(fmt.Sprintf("%019d", at)), 3}, Position(fmt.Sprintf("%019d", max(0, at-rng.Int64N(50_000)))),
		}
	}
	if n := len(v.Pack(v.Streams(nil))); n > 11_000 {
		t.Errorf("1,000 partitions take %d bytes", n)
	}
}

func FuzzUnpackVector(f *testing.F) {
	v := Vector{{"kafka", "c", "t", "0"}: {Cursor{"0000000000000000042", 1}, "0000000000000000040"}}
	f.Add(v.Pack(v.Streams(nil)))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		src := []string{"kafka:c:t", "kafka:c:u"}
		v, err := UnpackVector(s, src)
		if err != nil {
			return
		}
		again, err := UnpackVector(v.Pack(src), src)
		if err != nil {
			t.Fatalf("what was unpacked does not pack: %v", err)
		}
		if d := cmp.Diff(v, again); d != "" {
			t.Fatal(d)
		}
	})
}

func TestSourceKeys(t *testing.T) {
	for _, p := range []Partition{{"kafka", "MkU3:OEVB/x", "id~name", "12"}, {"kinesis", "arn:aws:kinesis:a:b/c d", "%", "é"}, {"", "", "", ""}} {
		got, err := ParsePartition(p.Key())
		if err != nil || got != p {
			t.Errorf("%q came back as %v, %v", p.Key(), got, err)
		}
	}
	for _, bad := range []string{"", "a:b:c", "a:b:c:d:e", "a:b:c:%4", "a:b:c:%zz"} {
		if p, err := ParsePartition(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, p)
		}
	}
}

func TestStamps(t *testing.T) {
	s := Stamp{"web", 1, 2, 3}
	if got := s.String(); got != "fhd1;web;1;2;3" {
		t.Errorf("%s: group offsets and leases out there have another form", got)
	}
	newer := func(a, b Stamp, want bool) {
		t.Helper()
		if a.Newer(b) != want {
			t.Errorf("%v newer than %v: %v", a, b, !want)
		}
	}
	newer(Stamp{"w", 1, 0, 0}, Stamp{"w", 0, 9, 9}, true)
	newer(Stamp{"w", 0, 9, 9}, Stamp{"w", 1, 0, 0}, false)
	newer(Stamp{"w", 0, 1, 0}, Stamp{"w", 0, 0, 5}, true)
	newer(s, s, false)
}
