package parquetfile

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/firehosed/firehosed/schema"
)

// encoder writes row groups of columns through parquet-go, one column after the
// other. Its choice of encodings holds for the whole file.
type encoder struct {
	plan   *plan
	choice choice
	pw     *parquet.Writer
	chunks []chunk // of the row groups so far, leaf by leaf
	out    *bufio.Writer
	sink   sink
	meta   compact // the footer
	schema []byte  // elements of the schema, as in the footer
	order  []int   // by leaf: which column of the file it is; parquet-go sorts them by name
	leaf   []int   // the other way round
	pages  int     // bytes
	held   int64   // memory that parquet-go keeps, by estimate: it buffers a page a column
	values []parquet.Value
	nulls  []parquet.Value // blockValues of one level
	null   uint8
	def    []byte
	rep    []byte
}

// blockValues is how many values are handed to the library at once.
const blockValues = 2048

// perColumn is what a column costs in parquet-go without any values.
const perColumn = 16 << 10

// maxDictionary is where a dictionary ends that kept growing after the first row
// group. Later pages of the row group are plain.
const maxDictionary = 1 << 20

func newEncoder(p *plan, ch choice, pool *Pool) (*encoder, error) {
	e := &encoder{plan: p, choice: ch, pages: pool.opts.PageBytes}
	root := parquet.Group{}
	var paths [][]string
	for _, f := range p.fields {
		root[f.name] = node(f, ch, nil, &paths)
	}
	s := parquet.NewSchema("table", root)
	index := map[string]int{}
	for i, path := range s.Columns() {
		index[strings.Join(path, "\x00")] = i
	}
	e.order, e.leaf = make([]int, len(p.leaves)), make([]int, len(p.leaves))
	e.held = perColumn * int64(len(p.leaves))
	for i, path := range paths {
		col, ok := index[strings.Join(path, "\x00")]
		if !ok {
			return nil, fmt.Errorf("column %s is lost", p.leaves[i].path)
		}
		e.order[i], e.leaf[col] = col, i
	}
	c := parquet.DefaultWriterConfig()
	c.Schema = s
	c.CreatedBy = createdBy
	c.ColumnPageBuffers = pool.pages
	c.PageBufferSize = pool.opts.PageBytes
	c.DataPageVersion = 1
	c.Compression = pool.codec
	c.DictionaryMaxBytes = maxDictionary
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.SkipPageBounds = paths // the footer's statistics are ours
	// Options, where zero in c would mean the default.
	e.pw = parquet.NewWriter(nil, c, parquet.DataPageStatistics(false), parquet.WriteBufferSize(0))
	return e, nil
}

// node returns the Parquet node of a field, and collects the paths of the leaves
// below it in the order of the plan.
func node(f *field, ch choice, above []string, paths *[][]string) parquet.Node {
	path := append(slices.Clip(above), f.name)
	var n parquet.Node
	switch f.typ.Kind {
	case schema.Struct:
		g := parquet.Group{}
		for _, kid := range f.kids {
			g[kid.name] = node(kid, ch, path, paths)
		}
		n = g
	case schema.List:
		n = parquet.List(node(renamed(f.kids[0], "element"), ch, append(slices.Clip(path), "list"), paths))
	case schema.Map:
		below := append(slices.Clip(path), "key_value")
		k := node(renamed(f.kids[0], "key"), ch, below, paths)
		n = parquet.Map(k, node(renamed(f.kids[1], "value"), ch, below, paths))
	default:
		n = leafNode(f.typ)
		if ch.dictionary(f.leaf) {
			n = parquet.Encoded(n, &parquet.RLEDictionary)
		} else {
			n = parquet.Encoded(n, &parquet.Plain)
		}
		*paths = append(*paths, path)
	}
	if f.optional {
		n = parquet.Optional(n)
	}
	return parquet.FieldID(n, f.id)
}

func renamed(f *field, name string) *field {
	r := *f
	r.name = name
	return &r
}

func leafNode(t *schema.Type) parquet.Node {
	switch t.Kind {
	case schema.Bool:
		return parquet.Leaf(parquet.BooleanType)
	case schema.Int:
		return parquet.Leaf(parquet.Int32Type)
	case schema.Float:
		return parquet.Leaf(parquet.FloatType)
	case schema.Double:
		return parquet.Leaf(parquet.DoubleType)
	case schema.Decimal:
		return parquet.Decimal(t.Scale, t.Precision, decimalType(t.Precision))
	case schema.Date:
		return parquet.Date()
	case schema.Time:
		return parquet.TimeAdjusted(parquet.Microsecond, false)
	case schema.Timestamp, schema.TimestampTZ:
		return parquet.TimestampAdjusted(parquet.Microsecond, t.Kind == schema.TimestampTZ)
	case schema.TimestampNS, schema.TimestampTZNS:
		return parquet.TimestampAdjusted(parquet.Nanosecond, t.Kind == schema.TimestampTZNS)
	case schema.String:
		return parquet.String()
	case schema.UUID:
		return parquet.UUID()
	case schema.Fixed:
		return parquet.Leaf(parquet.FixedLenByteArrayType(t.Length))
	case schema.Binary:
		return parquet.Leaf(parquet.ByteArrayType)
	default:
		return parquet.Leaf(parquet.Int64Type)
	}
}

func decimalType(precision int) parquet.Type {
	switch phys, width := decimalPhysical(precision); phys {
	case physInt32:
		return parquet.Int32Type
	case physInt64:
		return parquet.Int64Type
	default:
		return parquet.FixedLenByteArrayType(width)
	}
}

// rowGroup writes the values of cols as a row group.
func (e *encoder) rowGroup(cols []*column) error {
	writers := e.pw.ColumnWriters()
	var held int64
	for i, c := range cols {
		held += perColumn + min(c.used(), int64(e.pages))
		w := writers[e.order[i]]
		var err error
		switch {
		case c.f.rep > 0:
			err = e.repeated(w, c)
		default:
			err = e.flat(w, c)
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", c.f.path, err)
		}
	}
	e.held = max(e.held, held)
	e.note(cols)
	return e.pw.Flush()
}

// block returns how many values of c to hand over at once, so that a page does not
// grow far beyond its size.
func (e *encoder) block(c *column) int {
	if len(c.refs) == 0 {
		return blockValues
	}
	return min(max(e.pages*len(c.refs)/(4*(len(c.arena)+1)), 1), blockValues)
}

// flat writes a column that is in no list: a level is a row.
func (e *encoder) flat(w *parquet.ColumnWriter, c *column) error {
	limit := e.block(c)
	def := reader{l: &c.def}
	at := 0
	for {
		lit, level, n := def.next(limit)
		if n == 0 {
			return nil
		}
		var block []parquet.Value
		switch {
		case lit != nil:
			block, at = e.mixed(c, lit, at)
		case level == c.f.def:
			block = e.take(n)
			fill(block, c, at)
			at += n
		default:
			block = e.absent(level, n)
		}
		if _, err := w.WriteRowValues(block); err != nil {
			return err
		}
	}
}

// repeated writes a column that is in a list. Blocks end where a row ends, since a
// row must not be split among pages.
func (e *encoder) repeated(w *parquet.ColumnWriter, c *column) error {
	limit := e.block(c)
	def, rep := reader{l: &c.def}, reader{l: &c.rep}
	if cap(e.def) < c.def.n {
		e.def, e.rep = make([]byte, c.def.n), make([]byte, c.def.n)
	}
	defs, reps := e.def[:c.def.n], e.rep[:c.def.n]
	def.read(defs)
	rep.read(reps)
	at := 0
	for len(defs) > 0 {
		n := min(limit, len(defs))
		for n < len(defs) && reps[n] != 0 {
			n++
		}
		var block []parquet.Value
		block, at = e.mixed(c, defs[:n], at)
		for i, r := range reps[:n] {
			block[i].SetRepetitionLevel(int(r))
		}
		if _, err := w.WriteRowValues(block); err != nil {
			return err
		}
		defs, reps = defs[n:], reps[n:]
	}
	return nil
}

// mixed returns values and nulls as the definition levels say, the values from
// number at on, and the number of the next one.
func (e *encoder) mixed(c *column, def []byte, at int) ([]parquet.Value, int) {
	there := 0
	for _, d := range def {
		if d == c.f.def {
			there++
		}
	}
	block := e.take(len(def))
	fill(block[:there], c, at)
	k := there
	for i := len(def) - 1; i >= 0; i-- { // from behind, so that values move up in place
		if def[i] == c.f.def {
			k--
			block[i] = block[k]
			continue
		}
		block[i] = parquet.Value{}
		block[i].SetDefinitionLevel(int(def[i]))
	}
	return block, at + there
}

// absent returns n nulls of a level, n at most blockValues.
func (e *encoder) absent(level uint8, n int) []parquet.Value {
	if e.nulls == nil {
		e.nulls = make([]parquet.Value, blockValues)
	}
	if e.null != level {
		for i := range e.nulls {
			e.nulls[i].SetDefinitionLevel(int(level))
		}
		e.null = level
	}
	return e.nulls[:n]
}

func (e *encoder) take(n int) []parquet.Value {
	if cap(e.values) < n {
		e.values = make([]parquet.Value, max(n, blockValues))
	}
	return e.values[:n]
}

// fill sets dst to the values of c from number at on. They point into c.
func fill(dst []parquet.Value, c *column, at int) {
	src := c.fixed[min(at*c.width, len(c.fixed)):]
	switch c.phys {
	case physBool:
		for i := range dst {
			dst[i] = parquet.BooleanValue(src[i] != 0)
		}
	case physInt32:
		for i := range dst {
			dst[i] = parquet.Int32Value(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
	case physInt64:
		for i := range dst {
			dst[i] = parquet.Int64Value(int64(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case physFloat:
		for i := range dst {
			dst[i] = parquet.FloatValue(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
		}
	case physDouble:
		for i := range dst {
			dst[i] = parquet.DoubleValue(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case physFixed:
		for i := range dst {
			dst[i] = parquet.FixedLenByteArrayValue(src[i*c.width : (i+1)*c.width])
		}
	case physBytes:
		for i, r := range c.refs[at : at+len(dst)] {
			dst[i] = parquet.ByteArrayValue(c.arena[r.off : r.off+r.n])
		}
	}
	if c.f.def > 0 {
		for i := range dst {
			dst[i].SetDefinitionLevel(int(c.f.def))
		}
	}
}
