package schema

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// badType is a type that no schema can have: a reader panics at the first text for it.
func badType() *Type { return &Type{Kind: Fixed, Length: -1} }

// A unit that cannot be laid out for a table stays its rows, under every schema.
func TestCarefullyRescued(t *testing.T) {
	s := numbered(columns(t, "a: long, n: struct<b: string>, _fh_rescued: string"))
	bad := &Schema{ID: 2, Fields: append(s.Fields[:len(s.Fields):len(s.Fields)], Field{ID: 9, Name: "f", Type: badType()})}
	units := [][]byte{
		[]byte(`{"a":1,"n":{"b":"x"}}`),
		[]byte(` {"a":2} 7` + "\n" + `{"a":3,"n":{"b":"y","f":[1, 2]},"~/\u0022":null,"/~\u0022":0,"f":"text","é":true}`),
		[]byte(`{"a":4,"new":"n"}`),
		nil,
	}
	r := newRig(t, Options{})
	defer r.mem.AssertSize(t, 0)
	if caught(func() { NewDecoder(r.d.opt).Decode(units, bad, nil) }) == nil {
		t.Fatal("a type that no schema can have does not panic")
	}
	o := r.d.DecodeCarefully(units, bad, nil)
	defer o.Data.Release()
	checkRows(t, o, s, units)
	var got []string
	for i, u := range o.Unit {
		got = append(got, fmt.Sprintf("%d.%d %s", u, o.Sub[i], rowText(o, s, i)))
	}
	want := []string{
		`0.0 a=1 n={"b":"x"}`,
		`1.0 rescued {"/a":"2"}`,
		`1.2 rescued {"/a":"3","/n":"{\"b\":\"y\",\"f\":[1, 2]}","/~1~0\"":"0","/f":"\"text\"","/é":"true"}`,
		`2.0 a=4 rescued {"/new":"\"n\""}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(o.Rejects) != 1 || o.Rejects[0].Unit != 1 || o.Rejects[0].Sub != 1 || o.Rejects[0].Code != CodeTopLevel || o.Skipped[SkipTombstone] != 1 {
		t.Errorf("rejects %+v, skipped %v", o.Rejects, o.Skipped)
	}
	if o.Want == nil || o.Want.Column("new") == nil || o.Want.Column("é") != nil {
		t.Errorf("wants %v", o.Want)
	}
}

// A unit that panics where it lies leaves what is behind it as it was.
func TestPanicWhereItLies(t *testing.T) {
	bad := &Schema{Fields: []Field{{ID: 9, Name: "f", Type: badType()}}}
	for _, rec := range []string{`{"f":"text"}`, ` {"f":"text"} `, `{"g":1} {"f":"text"}`} {
		text := append([]byte(rec+"|next|"), make([]byte, Padding)...)
		before := bytes.Clone(text)
		d := NewDecoder(Options{Padded: true})
		if caught(func() { d.Decode([][]byte{text[: len(rec) : len(rec)+Padding]}, bad, nil) }) == nil {
			t.Errorf("%s does not panic", rec)
		}
		if !bytes.Equal(text, before) {
			t.Errorf("%s: the text was changed to %q", rec, text)
		}
	}
}

// A unit that cannot be judged is a dead letter, whatever the table is like.
func TestCarefullyRejected(t *testing.T) {
	s := numbered(columns(t, "a: long, _fh_rescued: string"))
	pinned := &Schema{Fields: []Field{{ID: 9, Name: "f", Type: badType(), Required: true}}}
	units := [][]byte{[]byte(`{"a":1}`), []byte(`{"a":2}{"f":"text"}`), []byte(`{"g":3}`)}
	for _, s := range []*Schema{nil, s} {
		r := newRig(t, Options{})
		o := r.d.DecodeCarefully(units, s, pinned)
		var got []string
		for _, j := range o.Rejects {
			got = append(got, fmt.Sprintf("%d.%d %s %s", j.Unit, j.Sub, j.Code, j.Payload))
		}
		if want := `0.0 required {"a":1}; 1.0 panic {"a":2}{"f":"text"}; 2.0 required {"g":3}`; strings.Join(got, "; ") != want || len(o.Unit) != 0 {
			t.Errorf("rejects %q, want %q", got, want)
		}
		if m := o.Rejects[1].Message; !strings.HasPrefix(m, "the decoder panicked: runtime error: ") {
			t.Errorf("message %q", m)
		}
		o.Data.Release()
		r.mem.AssertSize(t, 0)
	}
}

// Where a row would lack what the table requires, and where it is not the units that
// panic, it stays a panic.
func TestCarefullyNoWayOut(t *testing.T) {
	bad := numbered(&Schema{Fields: []Field{{Name: "a", Type: &Type{Kind: Long}, Required: true}, {Name: "f", Type: badType()}}})
	pinned := &Schema{Fields: bad.Fields[:1]}
	for _, c := range []struct {
		rec string
		s   *Schema
	}{
		{`{"a":1,"f":"text"}`, bad},
		{`{"a":1}`, &Schema{Fields: []Field{{ID: 1, Name: "l", Type: &Type{Kind: List}}}}},
	} {
		if caught(func() { NewDecoder(Options{}).DecodeCarefully([][]byte{[]byte(c.rec)}, c.s, pinned) }) == nil {
			t.Errorf("%s does not panic", c.rec)
		}
	}
}

// Where nothing panics, it is Decode.
func TestCarefullyLikeDecode(t *testing.T) {
	s := numbered(columns(t, "a: long, _fh_rescued: string"))
	units := [][]byte{[]byte(`{"a":1,"b":2}{"a":"x"} x`), []byte(" "), nil, []byte(`{"a":1.5}`)}
	r := newRig(t, Options{})
	defer r.mem.AssertSize(t, 0)
	var texts []string
	for _, decode := range []func([][]byte, *Schema, *Schema) *Decoded{r.d.Decode, r.d.DecodeCarefully} {
		o := decode(units, s, nil)
		lines := []string{fmt.Sprint(o.Unit, o.Sub, o.Rejects, o.Skipped, o.Want.Fields[2].Name)}
		for i := range o.Unit {
			lines = append(lines, rowText(o, s, i))
		}
		texts = append(texts, strings.Join(lines, "\n"))
		o.Data.Release()
	}
	if texts[0] != texts[1] || !strings.Contains(texts[0], `a=1 rescued {"/b":"2"}`) {
		t.Errorf("%s\nis carefully\n%s", texts[0], texts[1])
	}
}

// What is rescued whole is the record.
func TestCarefullyRescuedEvents(t *testing.T) {
	text, err := os.ReadFile("testdata/github-events.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	units := bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
	fates := make([]fate, len(units))
	for i := range fates {
		fates[i].rescued = i%3 > 0
	}
	s := numbered(columns(t, "id: string, actor: struct<login: string>, _fh_rescued: string"))
	r := newRig(t, Options{})
	defer r.mem.AssertSize(t, 0)
	o := r.d.decode(units, s, nil, fates)
	defer o.Data.Release()
	checkRows(t, o, s, units)
	for i := range o.Unit {
		if got := rowText(o, s, i); strings.HasPrefix(got, "rescued {") != (i%3 > 0) {
			t.Errorf("row %d is %s", i, short(got))
		}
	}
}
