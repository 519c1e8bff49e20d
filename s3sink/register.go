package s3sink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
)

// formatVersion is the newest version of registers and manifests that this binary
// writes and understands. What is newer is never written.
const formatVersion = 1

// register is the one value that commits to a table swap: s3/<table>/register in the
// control store. The order of the fields is the order in the value; crc is the last.
type register struct {
	V       int       `json:"v"`
	ID      string    `json:"id"` // made at the bind: the marker in the bucket and the `bound` entry name it
	Epoch   int64     `json:"e"`
	Replay  int64     `json:"re"`
	Rev     int64     `json:"rev"`
	Seq     int64     `json:"seq"`            // counts the manifests on the chain. It never goes back
	Head    string    `json:"head,omitempty"` // the newest manifest
	Pending []unshown `json:"pending"`        // commits on the chain whose objects may not all be visible
	Objects int64     `json:"objects"`        // of all commits that were not taken back
	Rows    int64     `json:"rows"`           // in them
	Src     []string  `json:"src"`            // stream keys; the marks refer to them by index
	Marks   string    `json:"marks"`          // a packed vector
	CRC     string    `json:"crc"`            // CRC-32C of the value's text with an empty crc

	vec pipeline.Vector
	raw []byte // as it was read, what a swap compares; nil: it was never written
}

// unshown is a commit that has to be published.
type unshown struct {
	Commit    string `json:"commit"`              // its manifest
	Replaying bool   `json:"replaying,omitempty"` // resume --replay takes it back: nobody publishes it any more
}

func (r *register) stamp(name string) pipeline.Stamp {
	return pipeline.Stamp{Pipeline: name, Epoch: r.Epoch, Replay: r.Replay, Rev: r.Rev}
}

// next returns a copy that is to be changed and written.
func (r *register) next() *register {
	n := *r
	n.Pending, n.vec, n.raw = slices.Clone(r.Pending), r.vec.Clone(), nil
	return &n
}

func (r *register) stampWith(st pipeline.Stamp) {
	r.Epoch, r.Replay, r.Rev = st.Epoch, st.Replay, st.Rev
}

// pending returns what the register has of a commit that is not published, or nil.
func (r *register) pending(commit string) *unshown {
	i := slices.IndexFunc(r.Pending, func(u unshown) bool { return u.Commit == commit })
	if i < 0 {
		return nil
	}
	return &r.Pending[i]
}

// settle takes a commit out of what is pending.
func (r *register) settle(commit string) {
	r.Pending = slices.DeleteFunc(r.Pending, func(u unshown) bool { return u.Commit == commit })
}

// count adds the objects and rows of a commit, or takes them away.
func (r *register) count(m *manifest, sign int64) {
	r.Objects += sign * int64(len(m.Objects))
	for i := range m.Objects {
		r.Rows += sign * m.Objects[i].Rows
	}
}

// encode returns the value. It fills in Src, Marks and CRC.
func (r *register) encode() ([]byte, error) {
	r.V = formatVersion
	if r.Src = r.vec.Streams(r.Src); r.Src == nil {
		r.Src = []string{}
	}
	if r.Pending == nil {
		r.Pending = []unshown{}
	}
	r.Marks, r.CRC = r.vec.Pack(r.Src), ""
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode register: %w", err)
	}
	r.CRC = checksum(text)
	return append(bytes.TrimSuffix(text, []byte(crcTail(""))), crcTail(r.CRC)...), nil
}

func crcTail(sum string) string { return `"crc":"` + sum + `"}` }

func checksum(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))) // the table is made once, by the library
}

var errDamaged = errors.New("damaged")

// decodeRegister reads what encode wrote. It keeps raw.
func decodeRegister(raw []byte) (*register, error) {
	r := &register{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("register is %w: %w", errDamaged, err)
	}
	if r.V > formatVersion {
		return nil, fmt.Errorf("register has version %d, this binary knows versions up to %d", r.V, formatVersion)
	}
	open, ok := strings.CutSuffix(string(raw), crcTail(r.CRC))
	if !ok || checksum([]byte(open+crcTail(""))) != r.CRC {
		return nil, fmt.Errorf("register is %w: its checksum does not match", errDamaged)
	}
	var err error
	if r.vec, err = pipeline.UnpackVector(r.Marks, r.Src); err != nil {
		return nil, fmt.Errorf("register: marks: %w", err)
	}
	r.raw = raw
	return r, nil
}

// verdict is what claims are worth against a register.
type verdict int

const (
	apply verdict = iota // every mark equals its From
	done                 // every mark has reached its To
	stale                // somebody else moved a mark, forward or, by a replay, back
)

// judge compares claims with marks. The zero cursor is ABSENT and below every
// position.
func judge(claims []pipeline.Claim, v pipeline.Vector) verdict {
	in, equal := 0, 0
	for i := range claims {
		c := &claims[i]
		at := v[c.Partition].At.At
		if at >= c.To.At {
			in++
		} else if at == c.From.At {
			equal++
		}
	}
	switch len(claims) {
	case in:
		return done
	case equal:
		return apply
	}
	return stale
}

// advance moves the marks of claims. Floors of another run than st's are void.
func advance(v pipeline.Vector, claims []pipeline.Claim, was, st pipeline.Stamp) {
	if !was.SameRun(st) {
		for p, m := range v {
			m.Floor = ""
			v[p] = m
		}
	}
	for i := range claims {
		c := &claims[i]
		m := v[c.Partition]
		m.At = c.To
		m.Floor = max(m.Floor, c.Floor)
		v[c.Partition] = m
	}
}
