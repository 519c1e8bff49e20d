package schema

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// objectOf is a struct with fields of these keys.
func objectOf(keys []string) *node {
	n := &node{kind: Struct}
	var fields []Field
	for _, key := range keys {
		fields = append(fields, Field{Name: key, Type: &Type{Kind: Long}})
	}
	n.addFields(fields, nil)
	return n
}

// look looks the keys up in turn, as the members of one object, and counts those that
// were not where they were expected.
func (n *node) look(t *testing.T, keys []string) (misses int) {
	t.Helper()
	var prev *node
	for _, key := range keys {
		literal := fmt.Sprintf("%q:", key)
		buf := append([]byte(literal+"1"), make([]byte, pad)...)
		f := n.find(buf, 1, 1+len(key))
		if f == nil {
			t.Fatalf("key %q is not found", key)
		}
		if prev != nil && n.placed(prev).next.f != f {
			misses++
		}
		if n.placed(prev).next.f == f {
			prev = f
			continue // it is not looked up
		}
		if p := n.lookup(n.placed(prev), sourceOf(buf), 0); p == nil || p.f != f || int(p.n) != len(literal) {
			t.Fatalf("key %q was taken for %+v", key, p)
		}
		prev = f
	}
	for i := 1; i < len(n.places)-1; i++ {
		p := &n.places[i]
		if int(p.f.place) != i || !bytes.HasPrefix(p.f.literal(), headOf(p)) {
			t.Fatalf("place %d is that of %q, whose place is %d", i, p.f.key, p.f.place)
		}
		if p.next != &n.places[p.f.follow] {
			t.Fatalf("place %d, of %q, does not lead to place %d", i, p.f.key, p.f.follow)
		}
	}
	if n.places[0].next != &n.places[1] {
		t.Fatal("the start does not lead to the first place")
	}
	return misses
}

// placeOf returns the place of a key.
func (n *node) placeOf(key string) int32 {
	buf := quoted(nil, key)
	return n.find(buf, 0, len(key)).place
}

func headOf(p *place) (b []byte) {
	for i := range min(8, p.n) {
		b = append(b, byte(p.head>>(8*i)))
	}
	return b
}

// TestPlaces: keys of every length are told apart, and the order in which keys come is
// learnt, whatever the order of the columns.
func TestPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var keys []string
	for i := range 90 {
		keys = append(keys, strings.Repeat("k", i%30)+fmt.Sprint(i))
	}
	columns := append([]string(nil), keys...)
	r.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
	n := objectOf(columns)
	some := func(share int) (out []string) {
		for _, key := range keys {
			if r.IntN(100) < share {
				out = append(out, key)
			}
		}
		return out
	}
	for range 60 {
		n.reset()
		for range 20 {
			n.look(t, some(35))
		}
	}
	late := 0
	for i := range keys[1:] {
		if n.placeOf(keys[i]) > n.placeOf(keys[i+1]) {
			late++
		}
	}
	if late > 4 {
		t.Errorf("%d of %d keys have a place before that of the key they come after", late, len(keys))
	}

	// Few of many keys, always the same distance apart.
	looked, misses := 0, 0
	for round := range 200 {
		var in []string
		for i := round % 9; i < len(keys); i += 9 {
			in = append(in, keys[i])
		}
		if m := n.look(t, in); round >= 100 {
			looked, misses = looked+len(in), misses+m
		}
	}
	if misses*20 > looked {
		t.Errorf("of %d keys at a known distance %d were not expected", looked, misses)
	}
}

// TestPlacesWithoutOrder: keys that come in no order are all found, and places do not
// change more often than the limit says.
func TestPlacesWithoutOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("key%d", i))
	}
	n := objectOf(keys)
	for range 100 {
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		n.look(t, keys)
		if int(n.moves) > len(keys) {
			t.Fatalf("%d fields have changed places %d times", len(keys), n.moves)
		}
	}
}

// TestScattered: where nobody foresees which key comes next, each is looked up at once, until their order
// can be foreseen; what is read is the same.
func TestScattered(t *testing.T) {
	for name, prefix := range map[string]string{"short": "k", "alike": "a long beginning of 20"} {
		r := rand.New(rand.NewPCG(7, 7))
		var fields []Field
		for i := range 60 {
			fields = append(fields, Field{ID: i + 1, Name: fmt.Sprintf("%s%d", prefix, i), Type: &Type{Kind: []Kind{Long, String}[i%2]}})
		}
		s := &Schema{Fields: fields}
		d := NewDecoder(Options{})
		batch := func(share int) {
			units := make([][]byte, 100)
			want := make([][60]bool, len(units))
			for row := range units {
				text := []byte(`{"other":null`)
				for i := range 60 {
					if share == 100 && i%3 == 0 || share < 100 && r.IntN(100) < share {
						want[row][i] = true
						text = fmt.Appendf(text, `,"%s%d":%s`, prefix, i, []string{strconv.Itoa(row), strconv.Quote(strconv.Itoa(row))}[i%2])
					}
				}
				units[row] = append(text, '}')
			}
			o := d.Decode(units, s, nil)
			defer o.Data.Release()
			if len(o.Rejects) > 0 || o.RescuedRows > 0 {
				t.Fatalf("%s: %v, %d rows are rescued", name, o.Rejects, o.RescuedRows)
			}
			for c, f := range o.Data.Schema().Fields() {
				var i int
				if _, err := fmt.Sscanf(strings.TrimPrefix(f.Name, prefix), "%d", &i); err != nil {
					t.Fatal(err)
				}
				col := o.Data.Column(c)
				for row := range units {
					if col.IsValid(row) != want[row][i] || want[row][i] && col.ValueStr(row) != strconv.Itoa(row) {
						t.Fatalf("%s: row %d of %s is %s", name, row, f.Name, col.ValueStr(row))
					}
				}
			}
		}
		root := func() *node { return &d.tables[0].reader.root }
		for range 3 {
			batch(40)
		}
		if !root().scattered {
			t.Errorf("%s: keys in no order are still foreseen", name)
		}
		for range retry + 1 {
			batch(100)
		}
		if root().scattered {
			t.Errorf("%s: keys in a steady order are still looked up", name)
		}
	}
}

// TestNoKey: no text is taken for the key that no place has.
func TestNoKey(t *testing.T) {
	s := &Schema{Fields: []Field{{ID: 1, Name: "a", Type: &Type{Kind: Long}}}}
	d := NewDecoder(Options{})
	for _, text := range []string{"{\"a\":1,\"b\":null,\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff:1}", "{\"a\":1,\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff:1}"} {
		o := d.Decode([][]byte{[]byte(text)}, s, nil)
		if len(o.Rejects) != 1 || o.Rejects[0].Code != CodeUTF8 {
			t.Errorf("%q: rejects %+v", text, o.Rejects)
		}
		o.Data.Release()
	}
}
