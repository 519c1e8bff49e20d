package parquetfile

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// parallelBytes is how many bytes of values make more than one processor worth while.
const parallelBytes = 1 << 20

// rowGroup encodes the columns of set, completes their statistics, and notes in its footer
// what the file's end has to say. Encoders that nobody else uses help: each takes the next
// column, and writes it when those before it are written.
func (p *Pool) rowGroup(w *countingWriter, set *columnSet, rows, values int64) error {
	encoders := []*encoder{<-p.encoders} // more than there are would only take memory
	for values >= parallelBytes && len(encoders) < len(set.cols) {
		select {
		case e := <-p.encoders:
			encoders = append(encoders, e)
			continue
		default:
		}
		break
	}
	defer func() {
		for _, e := range encoders {
			p.encoders <- e
		}
	}()
	out := encoders[0].file
	out.Reset(w)
	defer out.Reset(io.Discard)
	g := &rowGroup{set: set, out: &countingWriter{w: out, n: w.n}, chunks: make([]chunk, len(set.cols))}
	g.mu.ready = sync.NewCond(&g.mu)
	if g.out.n == 0 {
		if _, err := io.WriteString(g.out, magic); err != nil {
			return err
		}
	}
	begin := g.out.n
	var helpers sync.WaitGroup
	for _, e := range encoders[1:] {
		helpers.Go(func() { g.work(e) })
	}
	g.work(encoders[0])
	helpers.Wait()
	if g.mu.panicked != nil {
		panic(g.mu.panicked)
	}
	if g.mu.err != nil {
		return g.mu.err
	}
	if err := g.filters(&encoders[0].head); err != nil {
		return err
	}
	if p.opts.PageIndex { // which comes at the end of the file, and the footer after it
		set.foot.open = append(set.foot.open, openGroup{begin, rows, g.chunks})
	} else {
		set.foot.group(begin, rows, g.chunks)
	}
	return out.Flush()
}

// rowGroup is one that is being written.
type rowGroup struct {
	set    *columnSet
	out    *countingWriter
	chunks []chunk
	next   atomic.Int64 // the column that nobody has taken

	mu struct {
		sync.Mutex
		ready    *sync.Cond // written has changed, or err is set
		written  int        // columns
		err      error
		panicked any
	}
}

// work encodes columns until there are no more.
func (g *rowGroup) work(e *encoder) {
	defer e.shrink()
	defer func() {
		if v := recover(); v != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.mu.panicked, g.mu.err = v, fmt.Errorf("panicked: %v", v)
			g.mu.ready.Broadcast()
		}
	}()
	for {
		i := int(g.next.Add(1)) - 1
		if i >= len(g.set.cols) {
			return
		}
		c := g.set.cols[i]
		k, err := e.leaf(c, i, g.set)
		if err != nil {
			err = fmt.Errorf("column %s: %w", c.f.path, err)
		}
		if !g.write(i, &k, e.out, err) {
			return
		}
	}
}

// write waits for the turn of the column with number i and writes it, unless err is set or
// something failed. It returns whether all is well.
func (g *rowGroup) write(i int, k *chunk, pages []byte, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.mu.written < i && g.mu.err == nil && err == nil {
		g.mu.ready.Wait()
	}
	if g.mu.err == nil && err == nil {
		k.move(g.out.n)
		_, err = g.out.Write(pages)
	}
	if g.mu.err == nil && err != nil {
		g.mu.err = err
	}
	g.chunks[i] = *k
	g.mu.written++
	g.mu.ready.Broadcast()
	return g.mu.err == nil
}

// move says that the chunk begins at an offset of the file.
func (k *chunk) move(to int64) {
	k.begin += to
	k.data += to
	for i := range k.pages {
		k.pages[i].at += to
	}
}
