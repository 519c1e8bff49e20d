package iceberg

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

// history is a table's metadata without any files.
type history struct {
	*testing.T
	md    icetable.Metadata
	last  icego.Properties // our property before the last commit of ours
	pos   int
	bound *pipeline.Entry
}

func newHistory(t *testing.T) *history {
	t.Helper()
	sc := icego.NewSchema(0, icego.NestedField{ID: 1, Name: "v", Type: icego.PrimitiveTypes.Int64})
	md, err := icetable.NewMetadata(sc, icego.UnpartitionedSpec, icetable.UnsortedSortOrder, "file:///t", icego.Properties{"format-version": "2"})
	if err != nil {
		t.Fatal(err)
	}
	return &history{T: t, md: md}
}

func (h *history) apply(ups ...icetable.Update) {
	h.Helper()
	md, err := icetable.UpdateTableMetadata(h.md, ups, "")
	if err != nil {
		h.Fatal(err)
	}
	h.md = md
}

func (h *history) own() icego.Properties {
	p := icego.Properties{}
	for k, v := range h.md.Properties() {
		if strings.HasPrefix(k, propPrefix) {
			p[k] = v
		}
	}
	return p
}

// add commits a snapshot; edit may be nil: not ours.
func (h *history) add(parent *icetable.Snapshot, e *edit) {
	h.Helper()
	seq := h.md.LastSequenceNumber() + 1
	sid := 1000 + seq
	s := &icetable.Snapshot{
		SnapshotID: sid, SequenceNumber: seq, TimestampMs: timestamp(h.md, parent), ManifestList: "x",
		SchemaID: &h.md.CurrentSchema().ID, Summary: &icetable.Summary{Operation: icetable.OpAppend, Properties: icego.Properties{}},
	}
	if parent != nil {
		s.ParentSnapshotID = &parent.SnapshotID
	}
	var ups []icetable.Update
	if e != nil {
		if !e.hidden {
			s.Summary.Properties[pipelineKey] = "p"
		}
		set, _, err := e.header(sid, seq).encode(e.vec, "p", 20, h.md.Properties())
		if err != nil {
			h.Fatal(err)
		}
		h.last = h.own()
		ups = append(ups, icetable.NewSetPropertiesUpdate(set))
	}
	h.apply(append(ups, icetable.NewAddSnapshotUpdate(s), headUpdate(h.md, sid))...)
}

func (h *history) do(op string) {
	h.Helper()
	op, arg, _ := strings.Cut(op, ":")
	n, _ := strconv.Atoi(arg)
	head := headOf(h.md)
	key := headerKey("p")
	st := pipeline.Stamp{Pipeline: "p", Rev: 1}
	switch op {
	case "bind":
		h.add(head, &edit{vec: pipeline.Vector{}, header: func(sid, seq int64) *header { return (&header{}).next(st, sid, seq, true) }})
	case "ours":
		was, vec, err := decodeHeader(h.md.Properties(), "p")
		if err != nil {
			h.Fatal(err)
		}
		vec = advance(vec, []pipeline.Claim{claim(p0, h.pos, h.pos+10)}, st, st)
		h.pos += 10
		h.add(head, continued(was, vec, st))
	case "foreign":
		h.add(head, nil)
	case "replace":
		h.add(nil, nil)
	case "seal":
		r := effective(h.md, "p", h.bound)
		h.add(head, &edit{vec: r.vec, hidden: true, header: func(int64, int64) *header { s := *r.hdr; s.SNo = sealed; return &s }})
	case "bound":
		h.bound = &pipeline.Entry{Kind: pipeline.KindBound, UUID: h.md.TableUUID().String()}
	case "rebound":
		h.bound = &pipeline.Entry{Kind: pipeline.KindBound, UUID: "another"}
	case "unbound":
		h.bound = nil
	case "rollback":
		for range n {
			head = h.md.SnapshotByID(*head.ParentSnapshotID)
		}
		h.apply(headUpdate(h.md, head.SnapshotID))
	case "expire":
		keep := map[int64]bool{}
		for s := head; s != nil && len(keep) < n; {
			keep[s.SnapshotID] = true
			if s.ParentSnapshotID == nil {
				break
			}
			s = h.md.SnapshotByID(*s.ParentSnapshotID)
		}
		var gone []int64
		for _, s := range h.md.Snapshots() {
			if !keep[s.SnapshotID] {
				gone = append(gone, s.SnapshotID)
			}
		}
		h.apply(icetable.NewRemoveSnapshotsUpdate(gone, false))
	case "drop":
		h.apply(icetable.NewRemovePropertiesUpdate(append(keys(h.own()), "x")))
	case "cut":
		h.apply(icetable.NewRemovePropertiesUpdate([]string{chunkKey("p", 0)}))
	case "edit":
		h.apply(icetable.NewSetPropertiesUpdate(icego.Properties{chunkKey("p", 0): "A" + h.md.Properties()[chunkKey("p", 0)][1:]}))
	case "newer":
		h.apply(icetable.NewSetPropertiesUpdate(icego.Properties{key: strings.Replace(h.md.Properties()[key], `"v":1`, `"v":2`, 1)}))
	case "undo":
		h.apply(icetable.NewSetPropertiesUpdate(maps.Clone(h.last)))
	default:
		h.Fatalf("no such thing as %q", op)
	}
}

func keys(p icego.Properties) (out []string) {
	for k := range p {
		out = append(out, k)
	}
	return out
}

// A line's state "X:blind" is the known limit of the design: what the rules make of
// a table from which expiry has taken all evidence of a rollback, when nobody fenced it.
func TestEffective(t *testing.T) {
	text, err := os.ReadFile("testdata/effective.txt")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(text), "\n") {
		ops, want, ok := strings.Cut(line, "|")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		t.Run(fmt.Sprintf("line %d", i+1), func(t *testing.T) {
			h := newHistory(t)
			for op := range strings.FieldsSeq(ops) {
				h.do(op)
			}
			want, blind := strings.CutSuffix(strings.TrimSpace(want), ":blind")
			r := effective(h.md, "p", h.bound)
			if blind {
				want = "OK"
			}
			if string(r.state) != want {
				t.Errorf("%s: %s (%s), want %s", ops, r.state, r.reason, want)
			}
			if r.state.halts() != (r.reason != "") {
				t.Errorf("%s: state %s with reason %q", ops, r.state, r.reason)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	v := pipeline.Vector{p0: {At: at(100)}}
	q := p0
	q.ID = "1"
	f := func(want verdict, claims ...pipeline.Claim) {
		t.Helper()
		if got := judge(claims, v); got != want {
			t.Errorf("%+v: %v, want %v", claims, got, want)
		}
	}
	f(apply, claim(p0, 100, 110))
	f(apply, claim(p0, 100, 110), claim(q, -1, 5))
	f(apply)
	f(done, claim(p0, 90, 100))
	f(done, claim(p0, -1, 40))
	f(rewound, claim(p0, 110, 120))
	f(rewound, claim(q, 0, 5)) // it was at 0; now there is no mark
	f(stale, claim(p0, 90, 110))
	f(stale, claim(p0, -1, 110))
	f(stale, claim(p0, 90, 100), claim(q, -1, 5)) // one is in, the other is not
}

func TestHeaderRoundTrip(t *testing.T) {
	v := pipeline.Vector{}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 3000 {
		p, n := p0, 1_000_000+rng.IntN(4_000_000_000)
		p.ID = strconv.Itoa(i)
		v[p] = pipeline.Mark{At: pipeline.Cursor{At: at(n).At, Epoch: int32(i % 4)}, Floor: at(n - rng.IntN(50_000)).At}
	}
	h := (&header{}).next(pipeline.Stamp{Pipeline: "p", Epoch: 1, Replay: 2, Rev: 3}, 77, 8, false)
	set, remove, err := h.encode(v, "p", chunkBytes, icego.Properties{chunkKey("p", 9): "x"})
	if err != nil || len(remove) != 0 || h.N < 2 {
		t.Fatalf("%d chunks, remove %v, %v", h.N, remove, err)
	}
	got, back, err := decodeHeader(set, "p")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, got); d != "" || !maps.Equal(v, back) {
		t.Fatalf("not the same: %s", d)
	}
	small := got.next(pipeline.Stamp{Pipeline: "p"}, 78, 9, false)
	_, remove, err = small.encode(pipeline.Vector{}, "p", chunkBytes, set)
	if err != nil || len(remove) != h.N-small.N {
		t.Fatalf("remove %v, %v", remove, err)
	}
	for key, val := range set { // any changed byte is noticed
		for _, i := range []int{0, len(val) / 2, len(val) - 1} {
			bad := maps.Clone(set)
			bad[key] = val[:i] + string(val[i]^1) + val[i+1:]
			if _, _, err := decodeHeader(bad, "p"); err == nil {
				t.Errorf("byte %d of %s changed unnoticed", i, key)
			}
		}
	}
}

func TestHeaderOfTheFormatPage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/watermark.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	text, _, _ := strings.Cut(rest, "\n")
	_, rest, _ = strings.Cut(string(page), "chunk    ")
	chunk, _, _ := strings.Cut(rest, "\n")
	h, v, err := decodeHeader(icego.Properties{headerKey("p"): text, chunkKey("p", 0): chunk}, "p")
	if err != nil || h.Rev != 3 || h.Seq != 1204 || len(v) != 3 {
		t.Fatalf("%+v %v %v", h, v, err)
	}
	set, _, err := h.encode(v, "p", chunkBytes, nil)
	if err != nil || set[headerKey("p")] != text || set[chunkKey("p", 0)] != chunk {
		t.Fatalf("written anew it is %v, %v", set, err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(`{"v":1,"e":0,"re":0,"rev":0,"seq":0,"sid":"","sno":0,"ring":null,"src":[],"n":0,"crc":"00000000"}`, "")
	f.Fuzz(func(t *testing.T, text, chunk string) {
		_, _, _ = decodeHeader(icego.Properties{headerKey("p"): text, chunkKey("p", 0): chunk}, "p")
	})
}

func TestSummaryOfTheFormatPage(t *testing.T) {
	page, err := os.ReadFile("../docs/formats/snapshots.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	text, _, _ := strings.Cut(rest, "\n")
	packed := &pipeline.Packed{}
	if err := json.Unmarshal([]byte(text), packed); err != nil {
		t.Fatal(err)
	}
	vec, err := packed.Vector()
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.ParsePartition(packed.Streams[0] + ":0")
	if err != nil {
		t.Fatal(err)
	}
	q := p
	q.ID = "1"
	cursor := func(n int) pipeline.Cursor { return pipeline.Cursor{At: at(n).At, Epoch: 2 + 1} }
	want := pipeline.Vector{p: {At: cursor(1200), Floor: at(1000).At}, q: {At: cursor(1187), Floor: at(1187).At}}
	if d := cmp.Diff(want, vec); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"data/fh-", "metadata/fh-", "metadata/snap-"} {
		if !strings.Contains(string(page), "`"+name) {
			t.Errorf("the page lacks %s", name)
		}
	}
}
