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
	readBytes  = 128 << 10 // of JSON that is read at a time: it is decoded while it is near
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
	buf  []byte // from..to is read and not handed out; it grows for long lines
	from int
	to   int
	seen int   // bytes after from that have no line feed
	end  error // of the input
	next int64 // number of the next line, from 1
	read int64 // bytes handed out, line feeds included
}

// batch returns the next lines, at most limit of them, without their line feeds, and the
// number of the first. They are valid until the next call. At the end it returns none. Behind
// each there is room as [schema.Options.Padded] asks for.
func (l *lines) batch(dst [][]byte, limit int) (batch [][]byte, first int64, err error) {
	batch, first = dst[:0], l.next
	l.from, l.to = 0, copy(l.buf, l.buf[l.from:l.to])
	for len(batch) < limit {
		if n := bytes.IndexByte(l.buf[l.from+l.seen:l.to], '\n'); n >= 0 {
			batch = l.cut(batch, l.seen+n, 1)
			continue
		}
		l.seen = l.to - l.from
		switch {
		case l.end == nil && (len(batch) == 0 || l.room() > 0): // what was handed out stays where it is
			if err := l.fill(); err != nil {
				return nil, first, err
			}
		case len(batch) > 0:
			return batch, first, nil
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

// room returns how much more can be read without growing.
func (l *lines) room() int { return max(len(l.buf)-schema.Padding-l.to, 0) }

// cut hands out a line of n bytes with what ends it.
func (l *lines) cut(batch [][]byte, n, end int) [][]byte {
	batch = append(batch, l.buf[l.from:l.from+n:min(l.from+n+schema.Padding, len(l.buf))])
	l.from += n + end
	l.read += int64(n + end)
	l.seen = 0
	l.next++
	return batch
}

// fill reads more. It grows the buffer, which moves it, if it is full.
func (l *lines) fill() error {
	if l.to > maxLine {
		return fmt.Errorf("%s: line %d is longer than %d MiB: it is no JSON line, or has to be cut", l.in.name, l.next, maxLine>>20)
	}
	if l.room() == 0 {
		l.buf = append(l.buf, make([]byte, max(blockBytes+schema.Padding, len(l.buf)))...)
	}
	n, err := l.in.r.Read(l.buf[l.to : l.to+min(l.room(), readBytes)])
	l.to, l.end = l.to+n, err
	return nil
}
