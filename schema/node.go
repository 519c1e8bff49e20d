package schema

import "math/bits"

// A node is one place in a schema and the cells laid out for it so far.
//
// Rows without a value cost nothing when they pass: values follow each other without room for
// what is not there, n is the number of rows that are filled, and what the gap up to a row needs is
// done when the next value comes, or at the end of the batch. n beyond the current row means that the row
// has a value already, which is how repeated keys are found. Nor does a row that has a
// value need more than that, where the row before had one: the bitmap is filled by runs.
// That is cheap where nearly all rows have a value; elsewhere nobody can foresee whether
// the row before had one, and the bitmap is filled without asking.
type node struct {
	// What every value needs comes first, in two cache lines.
	kind   Kind
	sparse uint8 // 1: many rows of the last batch had no value, and valid is filled row by row
	n      int
	run    int      // the rows from run to n-1 have a value, and are not in valid yet
	valid  []uint64 // bitmap, zeros from run on; as long as it has to be
	words  []uint64 // values of up to 8 bytes, as 64 bits; Decimal: two words each
	ends   []int32  // String, Binary: 0, and where each value ends; List, Map: where row i ends is ends[i+1]
	data   []byte   // String, Binary; UUID, Fixed: width bytes each; Bool: a byte each; noKind: the last value, if it says nothing of a type

	place     int32  // index among its parent's places
	slot      int32  // index among those of its parent's byKey
	follow    int32  // the place of the key that mostly comes after this one
	far       int32  // a place that is far from this one, whose key came after this one once
	nulls     int    // of the rows, once finish has counted them
	field     *Field // nil: the record itself
	key       string // the object key that fills it
	parent    *node
	depth     int     // objects and arrays around the value
	kids      []*node // Struct: the fields; List: the element; Map: key and value
	strays    []*node // Struct: keys that have no column; their kind is noKind
	places    []place // Struct: the fields in the order in which their keys mostly come
	at        int32   // index among the fields of a struct
	moves     int32   // of places in this batch
	number    uint32  // of the object that is read, once it has an unknown key
	turns     int32   // keys of this batch that were not where they were expected
	byKey     keyTable
	declared  []Field // Struct: what Options.Declared says about members
	fixed     bool    // its type is declared: it is never promoted
	needs     bool    // Struct: a field is required
	scattered bool    // Struct: keys come in an order that nobody foresees
	mapKey    []byte  // Map: the key being read

	promote *Type     // what its type must become to take what did not fit
	found   *evidence // Struct, or in an element: members without a column
}

// noKind is the kind of a key without a column.
const noKind = Kind(0)

// nodeBytes is the size of a node: of whole cache lines, so that those of a struct, which
// lie side by side, begin with one.
const nodeBytes = 384

// init makes n the node of a field, and builds those below it.
func (n *node) init(f *Field, key string, parent *node, declared *Type) {
	*n = node{field: f, kind: f.Type.Kind, key: key, parent: parent, depth: parent.depth}
	n.fixed = declared != nil
	switch n.kind {
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

// width returns how many bytes a value has: UUID, Fixed.
func (n *node) width() int {
	if n.kind == UUID {
		return 16
	}
	return n.field.Type.Length
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
		kid.at = int32(i)
		n.kids = append(n.kids, kid)
		taken[key] = true
		n.needs = n.needs || f.Required
	}
	n.places = newPlaces(n.kids)
	n.byKey = newKeyTable(n.places)
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

// holds tells whether the row has a value.
func (n *node) holds(row int) bool {
	return n.n > row && (row >= n.run || row>>6 < len(n.valid) && n.valid[row>>6]>>(row&63)&1 == 1)
}

// skipTo leaves the rows from n up to row without a value.
func (n *node) skipTo(row int) {
	n.mark()
	if n.kind == List || n.kind == Map {
		n.reserve(row + 1)
		end := n.ends[n.n]
		for i := n.n + 1; i <= row; i++ {
			n.ends[i] = end
		}
	}
	n.n, n.run = row, row
}

// mark notes in the bitmap which rows have a value.
func (n *node) mark() {
	if n.run >= n.n {
		return
	}
	if n.n>>6 >= len(n.valid) {
		n.growValid(n.n)
	}
	setBits(n.valid, n.run, n.n)
	n.run = n.n
}

// begin prepares for a value of the row of a sparse column.
func (n *node) begin(row int) {
	if row>>6 >= len(n.valid) {
		n.growValid(row)
	}
	n.valid[row>>6] |= 1 << (row & 63)
	n.n, n.run = row, row+1
}

// growValid makes room for the bit of a row, and for as many again.
func (n *node) growValid(row int) { n.valid = extend(n.valid, 2*(row>>6+1)) }

// setNull leaves the row, which is next, without a value.
func (n *node) setNull(row int) {
	if n.run > row { // begin thought that there would be one
		n.valid[row>>6] &^= 1 << (row & 63)
		n.n = row + 1
		return
	}
	n.skipTo(row + 1)
}

// setWord makes v the value of the next row.
func (n *node) setWord(v uint64) {
	n.words = append(n.words, v)
	n.n++
}

// endText makes what is in data the text of the row, which is next.
func (n *node) endText(row int) {
	if len(n.ends) == 0 {
		n.ends = append(n.ends, 0)
	}
	n.ends = append(n.ends, int32(len(n.data)))
	n.n = row + 1
}

// end ends the list or map of the row, which is next.
func (n *node) end(row, at int) {
	n.ends[row+1] = int32(at)
	n.n = row + 1
}

// reserve makes room for so many rows of lists or maps, and for as many again.
func (n *node) reserve(rows int) {
	if rows >= len(n.ends) {
		n.ends = extend(n.ends, max(128, 2*(rows+1))&^63+1)
	}
}

func extend[T any](s []T, n int) []T {
	return append(s, make([]T, n-len(s))...)
}

// values returns how many values there are, of a kind that keeps values.
func (n *node) values() int {
	switch n.kind {
	case String, Binary:
		return max(len(n.ends)-1, 0)
	case Bool:
		return len(n.data)
	case UUID, Fixed:
		return len(n.data) / n.width()
	case Decimal:
		return len(n.words) / 2
	default:
		return len(n.words)
	}
}

// keep forgets all values but so many.
func (n *node) keep(values int) {
	switch n.kind {
	case String, Binary:
		end := int32(0)
		if len(n.ends) > 0 {
			n.ends = n.ends[:values+1]
			end = n.ends[values]
		}
		n.data = n.data[:end]
	case Bool:
		n.data = n.data[:values]
	case UUID, Fixed:
		n.data = n.data[:values*n.width()]
	case Decimal:
		n.words = n.words[:2*values]
	default:
		n.words = n.words[:values]
	}
}

// valuesFrom returns how many of the rows from row on have a value.
func (n *node) valuesFrom(row int) int {
	values := max(n.n-max(n.run, row), 0)
	for to := min(n.run, n.n, 64*len(n.valid)); row < to; row = row&^63 + 64 {
		w := n.valid[row>>6] >> (row & 63)
		values += bits.OnesCount64(w & (1<<(to-row) - 1))
	}
	return values
}

// setBits sets the bits from to to-1.
func setBits(b []uint64, from, to int) {
	for from < to {
		w := from >> 6
		stop := min(to-w<<6, 64)
		b[w] |= ^uint64(0) << (from & 63) & (^uint64(0) >> (64 - stop))
		from = w<<6 + stop
	}
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
	lost := n.valuesFrom(keep)
	if keep < n.run {
		clearBits(n.valid, keep, min(n.run, 64*len(n.valid)))
		n.run = keep
	}
	n.n = keep
	switch n.kind {
	case Struct:
		for _, kid := range n.kids {
			kid.truncate(row)
		}
		for _, kid := range n.strays {
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
	default:
		n.keep(n.values() - lost)
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
	size := nodeBytes + 2*len(n.key) + 128 // entries in the parent's byKey and places
	for _, kid := range n.kids {
		size += kid.tree()
	}
	return size
}

// free forgets all rows and gives their memory back.
func (n *node) free() {
	n.valid, n.words, n.ends, n.data = nil, nil, nil, nil
	n.n, n.run, n.nulls = 0, 0, 0
	for _, kid := range n.kids {
		kid.free()
	}
}

// inherit takes the memory of old, which had the same place in an earlier schema and is not
// filled now. New fields are behind those that were there.
func (n *node) inherit(old *node) {
	if n.kind != old.kind {
		return
	}
	n.valid, n.words, n.data = old.valid[:0], old.words[:0], old.data[:0]
	switch n.ends = old.ends; n.kind {
	case String, Binary:
		n.ends = n.ends[:min(1, len(n.ends))]
	case Struct:
		for i := 0; i < min(len(n.kids), len(old.kids)) && n.kids[i].key == old.kids[i].key; i++ {
			n.kids[i].inherit(old.kids[i])
		}
	case List, Map:
		for i, kid := range n.kids {
			kid.inherit(old.kids[i])
		}
	default:
	}
	old.valid, old.words, old.ends, old.data = nil, nil, nil, nil
}

// reset forgets all rows.
func (n *node) reset() {
	if n.run > 0 {
		clear(n.valid[:min(len(n.valid), n.run>>6+1)])
	}
	n.sparse = 0
	if 16*n.nulls > n.n && n.kind != List && n.kind != Map { // which have more to fill
		n.sparse = 1
	}
	if n.kind == Struct {
		n.expect()
	}
	n.n, n.run, n.nulls, n.turns = 0, 0, 0, 0
	if n.kind != Struct && n.kind != List && n.kind != Map {
		n.keep(0)
	}
	n.promote, n.found = nil, nil
	for _, kid := range n.kids {
		kid.reset()
	}
	for _, kid := range n.strays {
		kid.n, kid.run = 0, 0
	}
}

// expect decides by the last batch how keys are looked for in the next one. Once in a while it
// tries whether their order can be foreseen by now.
func (n *node) expect() {
	if n.scattered {
		if n.moves++; n.moves < retry {
			return
		}
		n.scatter(false)
	} else {
		members := 0
		for _, kid := range n.kids {
			members += kid.n - kid.nulls
		}
		if 3*int(n.turns) > members && members > 0 {
			n.scatter(true)
		}
	}
	n.moves = 0
}

// retry is after how many batches it is tried again to foresee the order of keys.
const retry = 32

// finish fills up to rows, where there is any value, and counts the nulls.
func (n *node) finish(rows int) {
	if n.n == 0 {
		return
	}
	if n.n < rows {
		n.skipTo(rows)
	}
	if n.run > 0 { // not all have a value
		n.mark()
		if words := (rows + 63) >> 6; words > len(n.valid) {
			n.valid = extend(n.valid, words)
		}
	}
	below := rows
	switch n.kind {
	case List, Map:
		n.reserve(rows)
		below = int(n.ends[rows])
		n.nulls = rows - n.valuesFrom(0)
	case Struct:
		n.nulls = rows - n.valuesFrom(0)
	default:
		n.nulls = rows - n.values()
	}
	for _, kid := range n.kids {
		kid.finish(below)
	}
}
