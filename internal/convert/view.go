package convert

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"syscall"

	"github.com/firehosed/firehosed/schema"
)

// A view is a window on a file, mapped into memory: the text of a large file that is not
// compressed is decoded where the system has it, and not copied first.
//
// If the file gets shorter meanwhile, reading what it had ends in a signal: [lines.recovered]
// makes an error of that. Writing (a zero behind a line) changes a copy of the page.
type view struct {
	file   *os.File
	size   int64 // of the file when it was opened
	at     int64 // where text begins in it
	text   []byte
	window int // bytes of text, whole pages; more for a longer line
}

// windowBytes is what is looked at at a time. A file of a few of them, and the end of a larger
// one, is read.
const windowBytes = 4 << 20

// newView returns a view of an input for which it pays, or nil.
func newView(in *input, window int) *view {
	if in.file == nil || !in.plain {
		return nil
	}
	info, err := in.file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < 4*int64(window) {
		return nil
	}
	return &view{file: in.file, size: info.Size(), window: window}
}

func (v *view) close() {
	if v.text != nil {
		_ = syscall.Munmap(v.text)
		v.text = nil
	}
}

// slide moves the window to the next line. Near the end of the file, or if that cannot be
// mapped, it lets go of the view and reports false: the rest is read.
func (l *lines) slide() (ok bool, err error) {
	v := l.view
	pos := v.at + int64(l.from)
	start := pos &^ int64(os.Getpagesize()-1)
	size := v.window
	if v.text != nil && start == v.at { // there is no whole line in it
		size = 2 * len(v.text)
	}
	v.close()
	if start+int64(size) <= v.size {
		if v.text, err = syscall.Mmap(int(v.file.Fd()), start, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE); err != nil {
			v.text = nil // as on some file systems
		}
	}
	if v.text == nil {
		l.view, l.text = nil, l.buf
		l.batch, l.from, l.whole, l.to = 0, 0, 0, 0
		l.in.r, l.in.stored.n = l.in.stored, pos
		_, err := v.file.Seek(pos, 0)
		return false, err
	}
	v.at, l.text, l.from = start, v.text, int(pos-start)
	l.batch, l.whole = l.from, l.from
	l.came(size-schema.Padding, l.from)
	l.in.stored.n = start + int64(size)
	return true, nil
}

// close lets go of what is looked at.
func (l *lines) close() {
	if l.view != nil {
		l.view.close()
	}
}

// recovered returns the error that a panic stands for which comes of reading a part of the
// file that is not there. Any other goes on.
func (l *lines) recovered(reason any) error {
	fault, ok := reason.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok || l.view == nil || fault.Addr()-reflect.ValueOf(l.view.text).Pointer() >= uintptr(len(l.view.text)) {
		panic(reason)
	}
	return fmt.Errorf("read %s: after line %d: the file became shorter while it was read, or cannot be read: %w", l.in.name, l.next-1, fault)
}
