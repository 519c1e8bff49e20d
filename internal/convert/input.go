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
)

const (
	blockBytes = 4 << 20   // of JSON that is read at a time
	maxLine    = 128 << 20 // bytes of the longest line
)

// Stdio is the name of standard input and output.
const Stdio = "-"

// input is one file of JSON lines, opened and decompressed.
type input struct {
	name   string
	file   *os.File // nil: standard input
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
		err = nil
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("read %s: %w", in.name, err)
	}
	return in, nil
}

// lines cuts an input at line feeds.
type lines struct {
	in   *input
	buf  []byte // from..to is read and not handed out
	from int
	to   int
	seen int   // bytes after from that have no line feed
	end  error // of the input
	next int64 // number of the next line, from 1
	read int64 // bytes handed out, line feeds included
}

// batch returns the next lines, at most limit of them, without their line feeds, and the
// number of the first. They are valid until the next call. At the end it returns none.
func (l *lines) batch(dst [][]byte, limit int) (batch [][]byte, first int64, err error) {
	batch, first = dst[:0], l.next
	for len(batch) < limit {
		if n := bytes.IndexByte(l.buf[l.from+l.seen:l.to], '\n'); n >= 0 {
			batch = l.cut(batch, l.seen+n, 1)
			continue
		}
		l.seen = l.to - l.from
		if len(batch) > 0 { // they lie in the buffer
			return batch, first, nil
		}
		switch {
		case l.end == nil:
			if err := l.fill(); err != nil {
				return nil, first, err
			}
		case !errors.Is(l.end, io.EOF):
			return nil, first, fmt.Errorf("read %s: after line %d: %w", l.in.name, l.next-1, l.end)
		case l.seen > 0: // the last line has no line feed
			return l.cut(batch, l.seen, 0), first, nil
		default:
			return nil, first, nil
		}
	}
	return batch, first, nil
}

// cut hands out a line of n bytes with what ends it.
func (l *lines) cut(batch [][]byte, n, end int) [][]byte {
	batch = append(batch, l.buf[l.from:l.from+n:l.from+n])
	l.from += n + end
	l.read += int64(n + end)
	l.seen = 0
	l.next++
	return batch
}

// fill reads more, a whole block if there is that much.
func (l *lines) fill() error {
	l.to = copy(l.buf, l.buf[l.from:l.to])
	l.from = 0
	if l.to > maxLine {
		return fmt.Errorf("%s: line %d is longer than %d MiB: it is no JSON line, or has to be cut", l.in.name, l.next, maxLine>>20)
	}
	if len(l.buf)-l.to < blockBytes {
		l.buf = append(l.buf, make([]byte, max(blockBytes, len(l.buf)))...)
	}
	for block := l.buf[l.to : l.to+blockBytes]; len(block) > 0 && l.end == nil; {
		var n int
		n, l.end = l.in.r.Read(block)
		block = block[n:]
		l.to += n
	}
	return nil
}
