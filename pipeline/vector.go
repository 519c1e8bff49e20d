package pipeline

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// Vector is a position, and perhaps a floor, for each of many partitions: the
// watermarks of a table, the origins of a stream, a barrier.
type Vector map[Partition]Mark

// Clone returns a copy that is never nil.
func (v Vector) Clone() Vector {
	if v == nil {
		return Vector{}
	}
	return maps.Clone(v)
}

// Streams returns the stream keys of the vector's partitions, those of have first
// and in their order.
func (v Vector) Streams(have []string) []string {
	out := slices.Clone(have)
	for p := range v {
		if s := p.StreamKey(); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out[len(have):])
	return out
}

// Packed is a vector as the control prefix keeps it.
type Packed struct {
	Streams []string `json:"src"`
	Data    string   `json:"v"`
}

// Packed returns the vector in its durable form.
func (v Vector) Packed() *Packed {
	src := v.Streams(nil)
	return &Packed{src, v.Pack(src)}
}

// Vector is the inverse of [Vector.Packed]. A nil p is the empty vector.
func (p *Packed) Vector() (Vector, error) {
	if p == nil {
		return Vector{}, nil
	}
	return UnpackVector(p.Data, p.Streams)
}

// Pack writes the vector as docs/formats/watermark.md draws it: the entries in
// order of (stream, length of id, id), column after column (stream, id, at, epoch,
// floor), deflated, in base64url. src is Streams of the vector. A string is written against a
// reference (id and at: the entry before; floor: the entry's own at) as one mode
// byte and its data:
//
//	0 equal   1, 2 reference plus, minus uvarint in its trailing digits   3 uvarint n, n bytes
//	4 digits: uvarint count, uvarint n, n bytes of the integer            5 absent
//
// No mode knows what a string means; leading zeros come back from lengths.
func (v Vector) Pack(src []string) string {
	type rec struct {
		stream int
		id     string
		mark   Mark
	}
	recs := make([]rec, 0, len(v))
	for p, m := range v {
		recs = append(recs, rec{slices.Index(src, p.StreamKey()), p.ID, m})
	}
	slices.SortFunc(recs, func(a, b rec) int {
		return cmp.Or(a.stream-b.stream, len(a.id)-len(b.id), strings.Compare(a.id, b.id))
	})
	b := binary.AppendUvarint(nil, uint64(len(recs)))
	for _, r := range recs {
		b = binary.AppendUvarint(b, uint64(r.stream))
	}
	prev := ""
	for _, r := range recs {
		b, prev = appendString(b, r.id, prev), r.id
	}
	prev = ""
	for _, r := range recs {
		b, prev = appendString(b, string(r.mark.At.At), prev), string(r.mark.At.At)
	}
	for _, r := range recs {
		b = binary.AppendUvarint(b, uint64(uint32(r.mark.At.Epoch)))
	}
	for _, r := range recs {
		if r.mark.Floor == "" {
			b = append(b, packAbsent)
		} else {
			b = appendString(b, string(r.mark.Floor), string(r.mark.At.At))
		}
	}
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("BUG: deflate into memory: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(out.Bytes())
}

const (
	packEqual = iota
	packPlus
	packMinus
	packBytes
	packDigits
	packAbsent
)

func appendString(b []byte, s, ref string) []byte {
	if s == ref {
		return append(b, packEqual)
	}
	if n := tail(ref); n > 0 && len(s) == len(ref) && s[:len(s)-n] == ref[:len(s)-n] && allDigits(s[len(s)-n:]) {
		d := number(s[len(s)-n:])
		d.Sub(d, number(ref[len(ref)-n:]))
		mode := byte(packPlus)
		if d.Sign() < 0 {
			mode = packMinus
		}
		if d.Abs(d).IsUint64() {
			return binary.AppendUvarint(append(b, mode), d.Uint64())
		}
	}
	if s != "" && allDigits(s) {
		x := number(s).Bytes()
		b = binary.AppendUvarint(append(b, packDigits), uint64(len(s)))
		return append(binary.AppendUvarint(b, uint64(len(x))), x...)
	}
	return append(binary.AppendUvarint(append(b, packBytes), uint64(len(s))), s...)
}

// tail is the length of the trailing run of digits.
func tail(s string) (n int) {
	for n < len(s) && s[len(s)-1-n] >= '0' && s[len(s)-1-n] <= '9' {
		n++
	}
	return n
}

func allDigits(s string) bool { return tail(s) == len(s) }

func number(s string) *big.Int {
	x, _ := new(big.Int).SetString(s, 10)
	return x
}

func padded(x *big.Int, n int) string {
	d := x.String()
	return strings.Repeat("0", max(0, n-len(d))) + d
}

var errPacked = errors.New("packed vector is damaged")

const (
	maxPacked = 64 << 20 // bytes after inflating
	maxDigits = 1 << 10  // of one position
)

// UnpackVector is the inverse of Pack. Damage of any kind is an error.
func UnpackVector(s string, src []string) (Vector, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	if raw, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(raw)), maxPacked)); err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	streams := make([]Partition, len(src))
	for i, key := range src {
		if streams[i], err = ParsePartition(key + ":"); err != nil {
			return nil, fmt.Errorf("%w: %w", errPacked, err)
		}
	}
	r := &packReader{b: raw}
	n := r.uvarint()
	if n > uint64(len(raw)) {
		return nil, errPacked
	}
	parts, marks := make([]Partition, n), make([]Mark, n)
	for i := range parts {
		if x := r.uvarint(); x < uint64(len(streams)) {
			parts[i] = streams[x]
		} else {
			r.bad = true
		}
	}
	prev := ""
	for i := range parts {
		prev, _ = r.str(prev)
		parts[i].ID = prev
	}
	prev = ""
	for i := range marks {
		prev, _ = r.str(prev)
		marks[i].At.At = Position(prev)
	}
	for i := range marks {
		marks[i].At.Epoch = int32(uint32(r.uvarint()))
	}
	v := make(Vector, n)
	for i := range marks {
		if f, absent := r.str(string(marks[i].At.At)); !absent {
			marks[i].Floor = Position(f)
		}
		v[parts[i]] = marks[i]
	}
	if r.bad || len(r.b) > 0 || uint64(len(v)) != n {
		return nil, errPacked
	}
	return v, nil
}

type packReader struct {
	b   []byte
	bad bool
}

func (r *packReader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *packReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *packReader) str(ref string) (s string, absent bool) {
	mode := r.take(1)
	if r.bad {
		return "", false
	}
	switch mode[0] {
	case packEqual:
		return ref, false
	case packPlus, packMinus:
		n := tail(ref)
		if n == 0 {
			break
		}
		d := new(big.Int).SetUint64(r.uvarint())
		if mode[0] == packMinus {
			d.Neg(d)
		}
		if d.Add(d, number(ref[len(ref)-n:])); d.Sign() >= 0 && len(d.String()) <= n {
			return ref[:len(ref)-n] + padded(d, n), false
		}
	case packBytes:
		return string(r.take(r.uvarint())), false
	case packDigits:
		n := r.uvarint()
		if x := new(big.Int).SetBytes(r.take(r.uvarint())); n <= maxDigits {
			return padded(x, int(n)), false
		}
	case packAbsent:
		return "", true
	}
	r.bad, r.b = true, nil
	return "", false
}

// String returns the stamp as group offsets, leases and log states carry it.
func (s Stamp) String() string {
	return fmt.Sprintf("fhd1;%s;%d;%d;%d", s.Pipeline, s.Epoch, s.Replay, s.Rev)
}
