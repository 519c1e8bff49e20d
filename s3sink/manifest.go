package s3sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/pipeline"
)

// Kinds of manifests.
const (
	kindData   = "data"   // rows: claims and objects
	kindFence  = "fence"  // a newer stamp; of a newer epoch, it empties the marks
	kindResume = "resume" // an operator's decision about a commit that could not be published
)

// What a manifest of kind resume decides.
const (
	actReplaying = "replaying" // the commit's rows shall come again: its objects are being removed
	actVoid      = "void"      // they are removed, its claims are back at their From
	actSkip      = "skip"      // what is missing of it stays away
)

// manifest is an entry of the chain, written once, before the swap that puts it there.
type manifest struct {
	V       int            `json:"v"`
	Kind    string         `json:"kind"`
	Seq     int64          `json:"seq"`
	ID      string         `json:"id"`             // of the commit: a UUID of version 7
	Prev    string         `json:"prev,omitempty"` // the manifest before it
	Stamp   pipeline.Stamp `json:"stamp"`
	Src     []string       `json:"src,omitempty"` // stream keys; the claims refer to them by index
	Claims  []claim        `json:"claims,omitempty"`
	Objects []object       `json:"objects,omitempty"`
	Action  string         `json:"action,omitempty"`   // resume
	Commit  string         `json:"commit,omitempty"`   // resume: the manifest that it is about
	LeftOut []string       `json:"left_out,omitempty"` // resume, skip: keys of objects that are not there
}

// claim is a span that the commit has all rows of, and what its rows add up to.
type claim struct {
	Src       int               `json:"src"`
	ID        string            `json:"id"` // of the partition
	From      pipeline.Position `json:"from"`
	FromEpoch int32             `json:"from_epoch,omitempty"`
	To        pipeline.Position `json:"to"`
	ToEpoch   int32             `json:"to_epoch,omitempty"`
	Floor     pipeline.Position `json:"floor,omitempty"`
	Rows      int64             `json:"rows"`
	First     pipeline.Position `json:"first,omitempty"` // just before the first row's record
	Last      pipeline.Position `json:"last,omitempty"`  // just before the last one's
	Sum       string            `json:"sum,omitempty"`   // of the rows' hashes, modulo 2^64, 16 hex digits
}

// object is one object of the commit.
type object struct {
	objstore.Upload
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of its bytes, in hex
	Rows   int64  `json:"rows"`
}

// name is what the chain calls the manifest: its number, at least ten digits, and the
// id of its commit.
func (m *manifest) name() string { return fmt.Sprintf("%010d-%s", m.Seq, m.ID) }

// seqOf returns the number in a manifest's name, -1 if it is none.
func seqOf(name string) int64 {
	digits, id, ok := strings.Cut(name, "-")
	n, err := strconv.ParseInt(digits, 10, 64)
	if _, bad := uuid.Parse(id); !ok || err != nil || bad != nil || n < 0 {
		return -1
	}
	return n
}

// partition returns the partition of a claim.
func (m *manifest) partition(c *claim) (pipeline.Partition, error) {
	if c.Src < 0 || c.Src >= len(m.Src) {
		return pipeline.Partition{}, fmt.Errorf("manifest %s is %w: a claim names stream %d of %d", m.name(), errDamaged, c.Src, len(m.Src))
	}
	p, err := pipeline.ParsePartition(m.Src[c.Src] + ":")
	p.ID = c.ID
	return p, err
}

// claimed returns what the commit moved, by partition.
func (m *manifest) claimed() (map[pipeline.Partition]*claim, error) {
	out := make(map[pipeline.Partition]*claim, len(m.Claims))
	for i := range m.Claims {
		p, err := m.partition(&m.Claims[i])
		if err != nil {
			return nil, err
		}
		out[p] = &m.Claims[i]
	}
	return out, nil
}

// claim writes claims and tallies down.
func (m *manifest) claim(claims []pipeline.Claim, tallies map[pipeline.Partition]*tally) {
	for i := range claims {
		c := &claims[i]
		key := c.Partition.StreamKey()
		src := slices.Index(m.Src, key)
		if src < 0 {
			src, m.Src = len(m.Src), append(m.Src, key)
		}
		out := claim{
			Src: src, ID: c.Partition.ID, From: c.From.At, FromEpoch: c.From.Epoch, To: c.To.At, ToEpoch: c.To.Epoch, Floor: c.Floor,
		}
		if t := tallies[c.Partition]; t != nil {
			out.Rows, out.First, out.Last, out.Sum = t.rows, t.first, t.last, fmt.Sprintf("%016x", t.sum)
		}
		m.Claims = append(m.Claims, out)
	}
	slices.SortFunc(m.Claims, func(a, b claim) int {
		if a.Src != b.Src {
			return a.Src - b.Src
		}
		if len(a.ID) != len(b.ID) {
			return len(a.ID) - len(b.ID)
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// chunkBytes bounds a value of a manifest: a store takes 16 MiB.
const chunkBytes = 8 << 20

// envelope is the first line of a manifest's first value.
type envelope struct {
	Chunks int    `json:"chunks"` // values that the manifest has
	CRC    string `json:"crc"`    // CRC-32C of the manifest's JSON
}

// encode returns the values of a manifest, the first one last: it must be written last.
// The manifest's own JSON comes after a line with the envelope and is cut into chunks.
func (m *manifest) encode(chunk int) (head []byte, rest [][]byte, err error) {
	m.V = formatVersion
	body, err := json.Marshal(m)
	if err != nil {
		return nil, nil, fmt.Errorf("encode manifest %s: %w", m.name(), err)
	}
	chunks := slices.Collect(slices.Chunk(body, chunk))
	line, err := json.Marshal(envelope{Chunks: len(chunks), CRC: checksum(body)})
	if err != nil {
		return nil, nil, fmt.Errorf("encode manifest %s: %w", m.name(), err)
	}
	return slices.Concat(line, []byte("\n"), chunks[0], []byte("\n")), chunks[1:], nil
}

// decodeManifest reads what encode wrote. more returns value i of the others.
func decodeManifest(name string, head []byte, more func(i int) ([]byte, error)) (*manifest, error) {
	damaged := func(why string) error { return fmt.Errorf("manifest %s is %w: %s", name, errDamaged, why) }
	line, body, ok := bytes.Cut(head, []byte("\n"))
	var env envelope
	if !ok || json.Unmarshal(line, &env) != nil {
		return nil, damaged("it has no envelope")
	}
	body = bytes.TrimSuffix(body, []byte("\n"))
	for i := 1; i < env.Chunks; i++ {
		chunk, err := more(i)
		if err != nil {
			return nil, err
		}
		if chunk == nil {
			return nil, damaged(fmt.Sprintf("chunk %d of %d is missing", i, env.Chunks))
		}
		body = append(slices.Clip(body), chunk...)
	}
	if checksum(body) != env.CRC {
		return nil, damaged("its checksum does not match")
	}
	m := &manifest{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, damaged(err.Error())
	}
	if m.V > formatVersion {
		return nil, fmt.Errorf("manifest %s has version %d, this binary knows versions up to %d", name, m.V, formatVersion)
	}
	if m.name() != name {
		return nil, damaged("it says that it is " + m.name())
	}
	return m, nil
}
