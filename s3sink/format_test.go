package s3sink

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

var rewrite = flag.Bool("rewrite", false, "write the values of docs/formats/s3.md anew")

const formatPage = "../docs/formats/s3.md"

// sampleRegister and sampleManifest are what the page shows.
func sampleRegister() *register {
	p := pipeline.Partition{Kind: "kafka", Stream: "4L6g3nShT-eMCtK--X86sw", Incarnation: "Cxw9Pk9QSmuMfZ4PGis8TQ", ID: "0"}
	m := sampleManifest()
	return &register{
		ID: "0f8fad5b-d9cb-469f-a165-70867728950e", Rev: 3, Seq: m.Seq, Head: m.name(), Pending: []unshown{{Commit: m.name()}}, Objects: 1, Rows: 480,
		vec: pipeline.Vector{p: {At: pipeline.Cursor{At: pos(1500), Epoch: 5}, Floor: pos(1400)}},
	}
}

func sampleManifest() *manifest {
	p := pipeline.Partition{Kind: "kafka", Stream: "4L6g3nShT-eMCtK--X86sw", Incarnation: "Cxw9Pk9QSmuMfZ4PGis8TQ", ID: "0"}
	m := &manifest{
		Kind: kindData, Seq: 2, ID: "019ac7f1-6b2e-7c11-8a54-3f0f7a3b9d21", Prev: "0000000001-019ac7f0-9d10-7b32-a0c4-5d2e8f1b6a77",
		Stamp: pipeline.Stamp{Pipeline: "clicks", Rev: 3},
		Objects: []object{{
			Upload: objstore.Upload{
				Key: "data/2026/11/28/15/events-3-2026-11-28-15-04-05-9b5a1c57-4f0e-5a3e-9d11-0c2a7c1f4b60.gz",
				ID:  "VXBsb2FkIElE", Parts: []objstore.Part{{ETag: `"b54357faf0632cce46e942fa68356b38"`, CRC32C: "yZRlqg==", Size: 90210}},
			},
			Bytes: 90210, SHA256: strings.Repeat("0f", 32), Rows: 480,
		}},
	}
	c := pipeline.Claim{
		Span:  pipeline.Span{Partition: p, From: pipeline.Cursor{At: pos(1000), Epoch: 5}, To: pipeline.Cursor{At: pos(1500), Epoch: 5}},
		Floor: pos(1400),
	}
	m.claim([]pipeline.Claim{c}, map[pipeline.Partition]*tally{p: {rows: 480, first: pos(1003), last: pos(1499), sum: rowHash(pos(1003), 0, []byte("hello"))}})
	return m
}

// TestFormatPage compares the page with what is written, and reads it.
func TestFormatPage(t *testing.T) {
	page, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := sampleRegister().encode()
	if err != nil {
		t.Fatal(err)
	}
	man, rest, err := sampleManifest().encode(chunkBytes)
	if err != nil || len(rest) != 0 {
		t.Fatal(err, len(rest))
	}
	mark, err := json.Marshal(marker{"clicks", "events", sampleRegister().ID})
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for lang, want := range map[string]string{"register": string(reg) + "\n", "manifest": string(man), "marker": string(mark) + "\n"} {
		block := regexp.MustCompile("(?s)```" + lang + "\n(.*?)```")
		found := block.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the page has no %s", lang)
		}
		if diff := cmp.Diff(want, found[1]); diff != "" && !*rewrite {
			t.Errorf("%s: -written +page\n%s", lang, diff)
		}
		text = strings.Replace(text, found[0], "```"+lang+"\n"+want+"```", 1)
	}
	if *rewrite {
		if err := os.WriteFile(formatPage, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := decodeRegister(reg)
	if err != nil || r.Seq != 2 || len(r.vec) != 1 {
		t.Errorf("register %+v, %v", r, err)
	}
	m, err := decodeManifest(r.Head, man, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleManifest()
	want.V = formatVersion
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("manifest: -written +read\n%s", diff)
	}
}

// TestManifestChunks: a manifest of many values comes back, and a missing or foreign one
// is found.
func TestManifestChunks(t *testing.T) {
	m := sampleManifest()
	head, rest, err := m.encode(100)
	if err != nil || len(rest) < 5 {
		t.Fatal(err, len(rest))
	}
	more := func(i int) ([]byte, error) { return rest[i-1], nil }
	got, err := decodeManifest(m.name(), head, more)
	if err != nil || len(got.Objects) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	f := func(want string, name string, more func(i int) ([]byte, error)) {
		t.Helper()
		if _, err := decodeManifest(name, head, more); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("chunk 2 of", m.name(), func(i int) ([]byte, error) {
		if i == 2 {
			return nil, nil
		}
		return rest[i-1], nil
	})
	f("checksum", m.name(), func(int) ([]byte, error) { return rest[0], nil })
	f("it says that it is", "0000000003-"+m.ID, more)
}

// TestManifestChunksAreStored: a commit whose manifest has many values.
func TestManifestChunksAreStored(t *testing.T) {
	w := newWorld(t)
	k := w.worker()
	k.sink.chunk = 50
	k.table()
	k.bucket.SetFaults(fail("complete", "", 1, objstore.Crash))
	if err := k.put(p0, -1, 3); err == nil {
		t.Fatal("no crash")
	}
	if at, err := w.worker().mark(p0); at != 3 || err != nil {
		t.Errorf("the mark is %d, %v", at, err)
	}
	w.wantLines("a 0 0", "a 0 1", "a 0 2")
}

func TestSeqOf(t *testing.T) {
	for name, want := range map[string]int64{
		sampleManifest().name(): 2, "12345678901-019ac7f1-6b2e-7c11-8a54-3f0f7a3b9d21": 12345678901,
		"": -1, "x": -1, "0000000001": -1, "0000000001-x": -1, "-1-019ac7f1-6b2e-7c11-8a54-3f0f7a3b9d21": -1,
	} {
		if got := seqOf(name); got != want {
			t.Errorf("seqOf(%q) = %d, want %d", name, got, want)
		}
	}
}

// TestRowHash: the sum of rows differs when a row is left out, comes twice, moves or changes.
func TestRowHash(t *testing.T) {
	seen := map[uint64]string{}
	for _, r := range []struct {
		at    pipeline.Position
		sub   int32
		bytes string
	}{{pos(1), 0, "a"}, {pos(1), 0, "b"}, {pos(1), 1, "a"}, {pos(2), 0, "a"}, {pos(1), 0, ""}, {"", 0, "a"}, {pos(1), 256, "a"}} {
		h := rowHash(r.at, r.sub, []byte(r.bytes))
		if old, ok := seen[h]; ok {
			t.Errorf("%v and %s have one hash", r, old)
		}
		seen[h] = fmt.Sprint(r)
	}
	if got, want := fmt.Sprintf("%016x", rowHash(pos(1003), 0, []byte("hello"))), sampleManifest().Claims[0].Sum; got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

func FuzzDecodeRegister(f *testing.F) {
	raw, err := sampleRegister().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := decodeRegister(raw); err == nil && r == nil {
			t.Error("nothing, and no error")
		}
	})
}
