package schema

import (
	"math/bits"
	"unsafe"
)

// A node is one place in a schema and the cells laid out for it so far.
//
// Rows without a value cost nothing when they pass: n is the number of rows that
// are filled, and what the gap up to a row needs is done when the next value
// comes, or at the end of the batch. n beyond the current row means that the row
// has a value already, which is how repeated keys are found.
type node struct {
	// What every value needs comes first, in two cache lines.
	kind  Kind
	place int32 // index among its parent's places
	leap  int32 // the place of the key that comes after this one, if that is far; else 0
	far   int32 // the same, as seen once
	n     int
	valid []uint64 // bitmap, zeros beyond n
	words []uint64 // values of up to 8 bytes, as 64 bits; Decimal: two words each; Bool: bitmap
	ends  []int32  // String, Binary, List, Map: where row i ends is ends[i+1]; of texts, only for rows that hold one until finish
	data  []byte   // String, Binary; UUID, Fixed: width bytes each

	nulls    int    // of the rows, once finish has counted them
	field    *Field // nil: the record itself
	key      string // the object key that fills it
	literal  string // the same as it is mostly written: "key":
	parent   *node
	at       int     // index among the fields of a struct
	depth    int     // objects and arrays around the value
	width    int     // UUID, Fixed
	kids     []*node // Struct: the fields; List: the element; Map: key and value
	places   []place // Struct: the fields in the order in which their keys mostly come
	moves    int     // of places in this batch
	byKey    keyTable
	declared []Field // Struct: what Options.Declared says about members
	fixed    bool    // its type is declared: it is never promoted
	needs    bool    // Struct: a field is required
	mapKey   []byte  // Map: the key being read

	promote *Type     // what its type must become to take what did not fit
	found   *evidence // Struct, or in an element: members without a column
	_       [nodePad]byte
}

// nodePad makes nodes fill cache lines, so that those of a struct, which lie side by
// side, begin with one.
const nodePad = 32

// init makes n the node of a field, and builds those below it.
func (n *node) init(f *Field, key string, parent *node, declared *Type) {
	*n = node{field: f, kind: f.Type.Kind, key: key, parent: parent, depth: parent.depth}
	if parent.kind == Struct {
		n.literal = `"` + string(appendQuoted(nil, []byte(key))) + `":`
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
		kids := make([]node, len(f.Type.Fields))
		for i := range kids {
			kids[i].init(&f.Type.Fields[i], "", n, part(declared, n.kind, i))
			n.kids = append(n.kids, &kids[i])
		}
	default:
	}
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
	kids := make([]node, len(fields))
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
		kid := &kids[i]
		kid.init(f, key, n, decl)
		kid.at = i
		n.kids = append(n.kids, kid)
		taken[key] = true
		n.needs = n.needs || f.Required
	}
	n.byKey = newKeyTable(n.kids)
	n.places = newPlaces(n.kids)
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
	switch n.kind {
	case String, Binary:
		n.reserve(row)
		n.ends[row+1] = int32(len(n.data))
	case List, Map:
		n.ends[row+1] = int32(n.begin(row))
	default:
		n.reserve(row)
	}
	n.n = row + 1
}

// reserve makes room for a row.
func (n *node) reserve(row int) {
	if row>>6 >= len(n.valid) {
		n.grow(row)
	}
}

// begin makes room for a row of a list or map and returns where it begins.
func (n *node) begin(row int) int {
	n.reserve(row)
	end := n.ends[n.n]
	for i := n.n + 1; i <= row; i++ {
		n.ends[i] = end
	}
	n.n = max(n.n, row)
	return int(end)
}

// hold says that the row, for which there is room, has its value now.
func (n *node) hold(row int) {
	n.valid[row>>6] |= 1 << (row & 63)
	n.n = row + 1
}

// grow makes room for a row, and for as many again.
func (n *node) grow(row int) {
	rows := max(128, 2*(row+1)) &^ 63
	n.valid = extend(n.valid, rows>>6)
	switch n.kind {
	case String, Binary, List, Map:
		n.ends = extend(n.ends, rows+1)
	case Bool:
		n.words = extend(n.words, rows>>6)
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

// fillTexts ends the rows up to rows that hold no text where they begin.
func (n *node) fillTexts(rows int) {
	end := int32(0)
	for from := 0; from < rows; from += 64 {
		ends := n.ends[from+1 : min(from+64, rows)+1]
		w := n.valid[from>>6]
		if w == ^uint64(0) {
			end = ends[len(ends)-1]
			continue
		}
		for i := range ends {
			e := ends[i]
			if w&1 != 0 {
				end = e
			}
			ends[i] = end
			w >>= 1
		}
	}
}

// textEnd returns where the texts of the rows before row end.
func (n *node) textEnd(row int) int32 {
	for at := (row - 1) >> 6; at >= 0; at-- {
		w := n.valid[at]
		if stop := row - at<<6; stop < 64 {
			w &= 1<<stop - 1
		}
		if w != 0 {
			return n.ends[at<<6+bits.Len64(w)]
		}
	}
	return 0
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
	if n.field != nil { // the record itself has no bitmap
		clearBits(n.valid, keep, n.n)
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
		n.data = n.data[:n.textEnd(keep)]
	default:
	}
}

// held returns how much memory n and what is below it hold.
func (n *node) held() int {
	size := 8*(cap(n.valid)+cap(n.words)) + 4*cap(n.ends) + cap(n.data)
	for _, kid := range n.kids {
		size += kid.held()
	}
	return size
}

// tree returns about how much memory n and the nodes below it take themselves.
func (n *node) tree() int {
	size := int(unsafe.Sizeof(*n)) + 2*len(n.literal) + 96 // entries in the parent's byKey and places
	for _, kid := range n.kids {
		size += kid.tree()
	}
	return size
}

// free forgets all rows and gives their memory back.
func (n *node) free() {
	n.valid, n.words, n.ends, n.data = nil, nil, nil, nil
	n.n, n.nulls = 0, 0
	for _, kid := range n.kids {
		kid.free()
	}
}

// reset forgets all rows.
func (n *node) reset() {
	clear(n.valid[:min(len(n.valid), n.n>>6+1)])
	n.n, n.nulls, n.moves = 0, 0, 0
	if n.kind == String || n.kind == Binary {
		n.data = n.data[:0]
	}
	n.promote, n.found = nil, nil
	for _, kid := range n.kids {
		kid.reset()
	}
}

// finish fills up to rows, where there is any value, and counts the nulls.
func (n *node) finish(rows int) {
	if n.n == 0 {
		return
	}
	if n.kind == List || n.kind == Map {
		n.begin(rows)
	} else {
		n.reserve(rows)
	}
	n.n, n.nulls = rows, rows
	for _, w := range n.valid[:(rows+63)>>6] {
		n.nulls -= bits.OnesCount64(w)
	}
	if n.nulls > 0 && (n.kind == String || n.kind == Binary) {
		n.fillTexts(rows)
	}
	below := rows
	if n.kind == List || n.kind == Map {
		below = int(n.ends[rows])
	}
	for _, kid := range n.kids {
		kid.finish(below)
	}
}
