package schema

import (
	"bytes"
	"fmt"
)

// lineBatch is what Begin began.
type lineBatch struct {
	table  *table
	schema *Schema
	size   int // bytes of the lines
	lines  int
}

// Begin begins a batch of lines, which Lines adds to it and End lays out. In between nothing
// else is done with the decoder. The schemas are as in [Decoder.Decode], and what becomes of
// a line is what becomes of a unit there.
func (d *Decoder) Begin(s, pinned *Schema) {
	d.batch = lineBatch{table: d.begin(s, pinned), schema: s}
}

// Lines adds whole lines to the batch, at most as many as told, and returns how many bytes,
// line feeds included, and how many lines that were. The first line of a batch is unit 0.
// Where a line ends is looked for only if it is not an object from its first byte to its
// last: most lines are looked at once.
//
// Only the last line of all may be without a line feed. Behind text there is [Padding] of
// capacity, used as for [Options.Padded]. When Lines returns, text is not needed any more.
// All lines of a batch have [MaxBatchBytes] at most.
func (d *Decoder) Lines(text []byte, most int) (n, lines int) {
	b, c, o := &d.batch, &d.cut, &d.out
	if b.size += len(text); b.size > MaxBatchBytes || len(text)+pad > cap(text) {
		panic(fmt.Sprintf("BUG: %d bytes of lines, the limit is %d, and %d bytes behind them", b.size, MaxBatchBytes, cap(text)-len(text)))
	}
	c.lendLines(text)
	defer c.close() // when a line panics, what is behind it is as it was
	t, rejects := b.table, len(o.Rejects)
	objects := t.check == nil
	for n < len(text) && lines < most {
		if objects && text[n] == '{' {
			end := t.reader.line(len(o.Unit), n)
			if end >= 0 {
				o.Unit = append(o.Unit, int32(b.lines))
				o.Sub = append(o.Sub, 0)
				n, lines, b.lines = end+1, lines+1, b.lines+1
				continue
			}
			objects = false // the text may have been read far beyond the line: once is enough
		}
		size := bytes.IndexByte(text[n:], '\n')
		if size < 0 {
			size = len(text) - n
		}
		c.close()
		d.unit(t, int32(b.lines), text[n:n+size])
		c.lendLines(text)
		n, lines, b.lines = min(n+size+1, len(text)), lines+1, b.lines+1
	}
	for i := range o.Rejects[rejects:] {
		r := &o.Rejects[rejects+i]
		r.Payload = bytes.Clone(r.Payload)
	}
	b.size -= len(text) - n
	return n, lines
}

// End lays the batch out. The result is as that of [Decoder.Decode], except that payloads of
// rejects are copies.
func (d *Decoder) End() *Decoded {
	b := d.batch
	d.batch = lineBatch{}
	return d.end(b.table, b.schema)
}
