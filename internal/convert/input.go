package convert

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/firehosed/firehosed/schema"
)

const (
	blockBytes = 4 << 20   // of lines handed out at a time, unless one is longer
	readBytes  = 256 << 10 // of JSON that is read at a time: it is decoded while it is near
	maxLine    = 128 << 20 // bytes of the longest line
)

// Stdio is the name of standard input and output.
const Stdio = "-"

// input is one file of JSON lines, opened and decompressed.
type input struct {
	name   string
	file   *os.File // nil: standard input
	plain  bool     // it is not compressed
	r      io.Reader
	close  func()
	stored *counter // bytes as they are stored
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// openInput opens a file, or takes stdin if that is its name. What it begins with tells
// how it is compressed.
func openInput(name string, stdin io.Reader) (*input, error) {
	in := &input{name: name, close: func() {}, stored: &counter{r: stdin}}
	if name != Stdio {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		in.file, in.stored.r, in.close = f, f, func() { _ = f.Close() }
	} else {
		in.name = "standard input"
	}
	buf := bufio.NewReaderSize(in.stored, 64<<10)
	head, err := buf.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		in.close()
		return nil, fmt.Errorf("read %s: %w", in.name, err)
	}
	in.r = buf
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		in.r, err = gzip.NewReader(buf)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(512<<20)); err == nil {
			shut := in.close
			in.r, in.close = z, func() { z.Close(); shut() }
		}
	default:
		in.plain, err = true, nil
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("read %s: %w", in.name, err)
	}
	return in, nil
}

// lines hands out the lines of an input as they are read.
type lines struct {
	in    *input
	view  *view  // what is looked at of a large file; nil: it is read, into buf
	buf   []byte // it grows for long lines
	text  []byte // of buf or view
	keep  bool   // what is handed out stays where it is until the next batch
	batch int    // where the batch begins, if it is kept
	from  int    // of the next line
	whole int    // where the last line that is there as a whole ends
	to    int    // from..to is there and not handed out
	end   error
	next  int64 // number of the next line, from 1
	read  int64 // bytes handed out, line feeds included
}

// begin begins a batch. Its lines stay together, or each is gone when more are asked for.
func (l *lines) begin(keep bool) { l.keep, l.batch = keep, l.from }

// more returns the lines that come next, with their line feeds; the last one of all may have
// none. There are none at the end of the input, or when a batch that is kept fills the
// buffer. Behind them there is room as [schema.Decoder.Lines] asks for.
func (l *lines) more() (text []byte, err error) {
	for l.from == l.whole {
		switch {
		case l.end == nil:
			if ok, err := l.fill(); !ok {
				return nil, err
			}
		case !errors.Is(l.end, io.EOF):
			return nil, fmt.Errorf("read %s: after line %d: %w", l.in.name, l.next-1, l.end)
		case l.from == l.to:
			return nil, nil
		default:
			l.whole = l.to
		}
	}
	return l.text[l.from:l.whole], nil
}

// took says that so many bytes and lines of what more returned are handed out.
func (l *lines) took(n, lines int) {
	l.from += n
	l.read += int64(n)
	l.next += int64(lines)
}

// kept returns what was handed out of a batch that is kept.
func (l *lines) kept() []byte { return l.text[l.batch:l.from] }

// fill reads more. It reports false if there is no room for it in a batch that is kept.
func (l *lines) fill() (ok bool, err error) {
	free := !l.keep || l.batch == l.from // what was handed out is not needed any more
	if l.to-l.from > maxLine {
		return false, fmt.Errorf("%s: line %d is longer than %d MiB: it is no JSON line, or has to be cut", l.in.name, l.next, maxLine>>20)
	}
	if l.view != nil {
		if !free {
			return false, nil
		}
		if ok, err := l.slide(); ok || err != nil {
			return ok, err
		}
	}
	if free {
		l.to = copy(l.buf, l.text[l.from:l.to])
		l.batch, l.from, l.whole, l.text = 0, 0, 0, l.buf
	}
	room := len(l.buf) - schema.Padding - l.to
	if room <= 0 {
		if l.from > 0 {
			return false, nil
		}
		l.buf = append(l.buf, make([]byte, max(blockBytes+schema.Padding, len(l.buf)))...)
		l.text, room = l.buf, len(l.buf)-schema.Padding-l.to
	}
	n, err := l.in.r.Read(l.buf[l.to : l.to+min(room, readBytes)])
	l.came(l.to+n, l.to)
	l.end = err
	return true, nil
}

// came notes that there is text up to a place, of which that up to before was there.
func (l *lines) came(to, before int) {
	if feed := bytes.LastIndexByte(l.text[before:to], '\n'); feed >= 0 {
		l.whole = before + feed + 1
	}
	l.to = to
}
