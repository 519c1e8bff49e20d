package schema

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// A node is one place in a schema and the cells laid out for it so far.
//
// Rows without a value cost nothing when they pass: n is the number of rows that
// are filled, and the gap up to a row is filled with nulls when the next value
// comes, or at the end of the batch. n beyond the current row means that the row
// has a value already, which is how repeated keys are found.
type node struct {
	field  *Field // nil: the record itself
	kind   Kind
	key    string // the object key that fills it
	parent *node
	at     int // index among the fields of a struct
	depth  int // objects and arrays around the value

	kids     []*node // Struct: the fields; List: the element; Map: key and value
	byKey    keyTable
	declared []Field // Struct: what Options.Declared says about members
	fixed    bool    // its type is declared: it is never promoted
	needs    bool    // Struct: a field is required

	literal string   // the key as it is mostly written: "key":
	head    uint64   // its first 8 bytes, or as many as it has,
	mask    uint64   // which are these
	next    [2]int32 // index of the fields that came after this one lately
	first   int32    // Struct: the same of the field that came first

	n     int
	nulls int
	valid []uint64 // bitmap, all ones beyond n
	words []uint64 // values of up to 8 bytes, as 64 bits; Decimal: two words each
	bits  []uint64 // Bool: bitmap
	ends  []int32  // String, Binary, List, Map: where row i ends is ends[i+1]
	data  []byte   // String, Binary; UUID, Fixed: width bytes each
	width int      // UUID, Fixed

	mapKey []byte // Map: the key being read

	promote *Type     // what its type must become to take what did not fit
	found   *evidence // Struct, or in an element: members without a column
}

// newNode builds the node of a field and those below it.
func newNode(f *Field, key string, parent *node, declared *Type) *node {
	n := &node{field: f, kind: f.Type.Kind, key: key, parent: parent, depth: parent.depth}
	if parent.kind == Struct {
		n.literal = `"` + string(appendQuoted(nil, []byte(key))) + `":`
		var word [8]byte
		n.head, n.mask = 0, ^uint64(0)
		if k := copy(word[:], n.literal); k < len(word) {
			n.mask = 1<<(8*k) - 1
		}
		n.head = binary.LittleEndian.Uint64(word[:])
	}
	n.fixed = declared != nil
	switch n.kind {
	case UUID:
		n.width = 16
	case Fixed:
		n.width = f.Type.Length
	case Struct:
		n.addFields(f.Type.Fields, declared)
	case List, Map:
		n.depth++
		for i := range f.Type.Fields {
			n.kids = append(n.kids, newNode(&f.Type.Fields[i], "", n, part(declared, n.kind, i)))
		}
	default:
	}
	return n
}

// part returns the type of the i-th part of a declared list or map, if that is
// what it is.
func part(declared *Type, kind Kind, i int) *Type {
	if declared == nil || declared.Kind != kind {
		return nil
	}
	return declared.Fields[i].Type
}

// addFields makes n the object with these fields.
func (n *node) addFields(fields []Field, declared *Type) {
	n.depth++
	taken := make(map[string]bool, len(fields))
	if declared != nil && declared.Kind == Struct {
		n.declared = declared.Fields
	}
	for i := range fields {
		f := &fields[i]
		if n.field == nil && IsMeta(f) {
			continue
		}
		key := f.JSONKey()
		if taken[key] {
			continue // of two columns for one key the first is filled
		}
		var decl *Type
		if d := fieldForKey(n.declared, key); d != nil {
			decl = d.Type
		}
		kid := newNode(f, key, n, decl)
		kid.at = i
		n.kids = append(n.kids, kid)
		taken[key] = true
		n.needs = n.needs || f.Required
	}
	for i, kid := range n.kids {
		kid.next = [2]int32{int32((i + 1) % len(n.kids)), int32((i + 2) % len(n.kids))}
	}
	n.byKey = newKeyTable(n.kids)
}

func fieldForKey(fields []Field, key string) *Field {
	for i := range fields {
		if fields[i].JSONKey() == key {
			return &fields[i]
		}
	}
	return nil
}

// has tells whether any row has a value.
func (n *node) has() bool { return n.n > n.nulls }

func (n *node) setNull(row int) {
	n.reserve(row)
	n.valid[row>>6] &^= 1 << (row & 63)
	n.nulls++
	if n.ends != nil {
		n.ends[row+1] = n.ends[row]
	}
	n.n = row + 1
}

// reserve makes room for a row and fills the rows before it with nulls.
func (n *node) reserve(row int) {
	if row>>6 >= len(n.valid) {
		n.grow(row)
	}
	if n.n < row {
		n.fill(row)
	}
}

// grow makes room for a row, and for as many again.
func (n *node) grow(row int) {
	rows := max(128, 2*(row+1)) &^ 63
	have := len(n.valid)
	n.valid = extend(n.valid, rows>>6)
	for i := have; i < len(n.valid); i++ {
		n.valid[i] = ^uint64(0)
	}
	switch n.kind {
	case String, Binary, List, Map:
		n.ends = extend(n.ends, rows+1)
	case Bool:
		n.bits = extend(n.bits, rows>>6)
	case Decimal:
		n.words = extend(n.words, 2*rows)
	case UUID, Fixed:
		n.data = extend(n.data, n.width*rows)
	case Struct:
	default:
		n.words = extend(n.words, rows)
	}
}

func extend[T any](s []T, n int) []T {
	return append(s, make([]T, n-len(s))...)
}

// fill makes nulls of all rows from n to row, for which there is room.
func (n *node) fill(row int) {
	from := n.n
	n.nulls += row - from
	clearBits(n.valid, from, row)
	if n.ends != nil {
		end := n.ends[from]
		gap := n.ends[from+1 : row+1]
		for i := range gap {
			gap[i] = end
		}
	}
	n.n = row
}

// clearBits clears the bits from to to-1.
func clearBits(b []uint64, from, to int) {
	for from < to {
		w := from >> 6
		stop := min(to-w<<6, 64)
		b[w] &^= ^uint64(0) << (from & 63) & (^uint64(0) >> (64 - stop))
		from = w<<6 + stop
	}
}

// truncate forgets the rows from row on, and what was begun of them.
func (n *node) truncate(row int) {
	keep := min(n.n, row)
	for at := keep; at < n.n && n.nulls > 0; {
		w := at >> 6
		stop := min(n.n-w<<6, 64)
		mask := ^uint64(0) << (at & 63) & (^uint64(0) >> (64 - stop))
		n.nulls -= bits.OnesCount64(^n.valid[w] & mask)
		n.valid[w] |= mask
		at = w<<6 + stop
	}
	n.n = keep
	switch n.kind {
	case Struct:
		for _, kid := range n.kids {
			kid.truncate(row)
		}
	case List, Map:
		end := 0
		if n.ends != nil {
			end = int(n.ends[keep])
		}
		for _, kid := range n.kids {
			kid.truncate(end)
		}
	case String, Binary:
		if n.ends != nil {
			n.data = n.data[:n.ends[keep]]
		}
	default:
	}
}

// held returns how much memory n and what is below it hold.
func (n *node) held() int {
	size := 8*(cap(n.valid)+cap(n.words)+cap(n.bits)) + 4*cap(n.ends) + cap(n.data)
	for _, kid := range n.kids {
		size += kid.held()
	}
	return size
}

// tree returns about how much memory n and the nodes below it take themselves.
func (n *node) tree() int {
	size := int(unsafe.Sizeof(*n)) + 2*len(n.literal) + 64 // an entry in the parent's byKey
	for _, kid := range n.kids {
		size += kid.tree()
	}
	return size
}

// free forgets all rows and gives their memory back.
func (n *node) free() {
	n.valid, n.words, n.bits, n.ends, n.data = nil, nil, nil, nil, nil
	n.n, n.nulls = 0, 0
	for _, kid := range n.kids {
		kid.free()
	}
}

// reset forgets all rows.
func (n *node) reset() {
	if n.nulls > 0 {
		used := n.valid[:min(len(n.valid), n.n>>6+1)]
		for i := range used {
			used[i] = ^uint64(0)
		}
	}
	n.n, n.nulls = 0, 0
	if n.kind == String || n.kind == Binary {
		n.data = n.data[:0]
	}
	n.promote, n.found = nil, nil
	for _, kid := range n.kids {
		kid.reset()
	}
}

// finish fills up to rows, where there is any value.
func (n *node) finish(rows int) {
	if n.n == 0 {
		return
	}
	n.reserve(rows)
	below := rows
	if n.kind == List || n.kind == Map {
		below = int(n.ends[rows])
	}
	for _, kid := range n.kids {
		kid.finish(below)
	}
}
