//go:build race || checked

package schema

import "encoding/binary"

// This is unsafe.go with checks.

type source struct{ text []byte }

const checked = true

func sourceOf(text []byte) source { return source{text} }

func (s source) byte(i int) byte { return s.text[i] }

func (s source) half(i int) uint16 { return binary.LittleEndian.Uint16(s.text[i:]) }

func (s source) word(i int) uint64 { return binary.LittleEndian.Uint64(s.text[i:]) }

func putWord(dst []byte, i int, w uint64) { binary.LittleEndian.PutUint64(dst[:cap(dst)][i:], w) }

func putByte(dst []byte, i int, c byte) { dst[:cap(dst)][i] = c }

func view(text []byte) string { return string(text) }
