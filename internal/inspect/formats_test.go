package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
)

// page reads a page of docs/formats and returns what it keeps in code blocks of a language.
func page(t *testing.T, name, lang string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/formats/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if m[1] == lang {
			blocks = append(blocks, strings.TrimSpace(m[2]))
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no %q block", name, lang)
	}
	return blocks
}

func TestFormatWatermark(t *testing.T) {
	header := page(t, "watermark.md", "json")[0]
	var h struct {
		Src []string `json:"src"`
		N   int      `json:"n"`
		CRC string   `json:"crc"`
	}
	if err := json.Unmarshal([]byte(header), &h); err != nil {
		t.Fatal(err)
	}
	blocks := page(t, "watermark.md", "")
	i := slices.IndexFunc(blocks, func(b string) bool { return strings.HasPrefix(b, "chunk ") })
	chunk := strings.TrimSpace(strings.TrimPrefix(blocks[i], "chunk"))

	bare := strings.Replace(header, h.CRC, "", 1) + "\n" + chunk
	if crc := fmt.Sprintf("%08x", crc32.Checksum([]byte(bare), crc32.MakeTable(crc32.Castagnoli))); crc != h.CRC {
		t.Errorf("crc of the example is %s, the page says %s", crc, h.CRC)
	}
	got, err := pipeline.UnpackVector(chunk, h.Src)
	if err != nil {
		t.Fatal(err)
	}
	part := func(id string) pipeline.Partition {
		p, err := pipeline.ParsePartition(h.Src[0] + ":" + id)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	want := pipeline.Vector{
		part("0"):  {At: pipeline.Cursor{At: "0000000000000001200", Epoch: 3}, Floor: "0000000000000001000"},
		part("1"):  {At: pipeline.Cursor{At: "0000000000000001187", Epoch: 3}, Floor: "0000000000000001187"},
		part("10"): {At: pipeline.Cursor{At: "0000000000000000042", Epoch: 1}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("example (-page +decoded):\n%s", d)
	}
	if again := got.Pack(h.Src); again != chunk {
		t.Errorf("packed again: %s", again)
	}
}

func TestFormatControl(t *testing.T) {
	var barrier pipeline.Packed
	if err := json.Unmarshal([]byte(page(t, "control.md", "json")[0]), &barrier); err != nil {
		t.Fatal(err)
	}
	if v, err := barrier.Vector(); err != nil || len(v) != 3 {
		t.Errorf("barrier: %v, %v", v, err)
	}
	pure, err := pipeline.DecodePure([]byte(page(t, "control.md", "revision")[0]))
	if err != nil || len(pure.Skips) != 1 || !bytes.HasPrefix(pure.Config, []byte("routes:")) {
		t.Errorf("revision: %+v, %v", pure, err)
	}
	kinds := []string{
		pipeline.KindAdmit, pipeline.KindBound, pipeline.KindRev, pipeline.KindEpoch,
		pipeline.KindReplay, pipeline.KindGap, pipeline.KindIncarnation, pipeline.KindForfeit,
	}
	for _, block := range page(t, "control.md", "entry") {
		var e pipeline.Entry
		dec := json.NewDecoder(strings.NewReader(block))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			t.Errorf("%s: %v", block, err)
			continue
		}
		again, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, []byte(block)) {
			t.Errorf("entry %d (%s) is written as\n%s\nthe page has\n%s", e.N, e.Kind, again, block)
		}
		if e.Vector != nil {
			if v, err := e.Vector.Vector(); err != nil || len(v) != 0 {
				t.Errorf("entry %d: vector %v, %v", e.N, v, err)
			}
		}
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == e.Kind })
	}
	if len(kinds) > 0 {
		t.Errorf("the page has no entry of kind %v", kinds)
	}
}
