package schema

import "math/bits"

// sight is how many bytes from the beginning of a key on are looked at for the next one.
const sight = 48

// scattered is [reader.object] from its first key on, at i, for keys that come in an order that
// nobody foresees. A key is looked up before the value in front of it is read, as far as quotes
// tell where that ends: so the lookup waits neither for the value nor for a wrong guess of what
// it is. What was found ahead is compared with what is there, like any key.
//
//nolint:funlen // every step out of it costs a tenth
func (r *reader) scattered(nd *node, row, i int) int {
	src := r.src
	p := &nd.places[0] // no key is like it: it has no length
	for {
		// Behind the two quotes of the key, the next one begins the value, if that is a text, and one
		// more ends it. Else it begins the next key. The bit at sight stands for one out of sight.
		m := wideQuotes(src, i+1) | 1<<sight
		n := bits.TrailingZeros64(m) // bytes of the key
		m &= m - 1
		text := m >> ((n + 2) & 63) & 1 // 1 if the value is one
		m &= m - text
		last := i + 1 + bits.TrailingZeros64(m|1<<sight)
		ahead := nd.ahead(src, last+2*int(text))

		at := i + n + 3
		size := last - at - 1 // of the text
		if (src.word(i)^p.head)&p.headMask|(src.word(i+8)^p.tail)&p.tailMask != 0 || int(p.n) != n+3 || n > 13 && !p.goesOn(src, i) {
			if p = nd.search(&nd.places[0], src, i); p != nil {
				at = i + int(p.n)
			} else {
				var read bool
				if p, at, read = r.turn(nd, &nd.places[0], row, i); read {
					if i = at; i < 0 {
						return invalid
					}
					goto next // with the place of no key
				}
			}
			size = -1
		}
		{
			f := p.f
			if uint(f.n^row)|uint(f.sparse) != 0 {
				switch {
				case f.n > row:
					return invalid // the key was there before
				case f.sparse != 0:
					f.begin(row)
				default:
					f.skipTo(row)
				}
			}
			i = 0
			switch p.kind {
			case String:
				if src.byte(at) != '"' {
					break
				}
				if uint(size) <= shortBytes {
					i = shortText(f, src, at+1, size)
				}
				if i == 0 {
					if i = plainText(f, src, at+1, at+1); i < 0 {
						i = r.longText(f, ^i, at+1)
					}
				}
			case Long:
				i = plainLong(f, src, at)
			case Double:
				i = plainDouble(f, src, at)
			case Bool:
				i = plainBool(f, src, at)
			case TimestampTZ:
				i = r.clock.plainUTC(f, src, at)
			default:
			}
			if i <= 0 {
				if i = r.member(f, row, at); i < 0 {
					return invalid
				}
			}
		}
		p = ahead
	next:
		if src.half(i) == ','|'"'<<8 {
			i++
			continue
		}
		var more bool
		if i, more = r.another(i); !more {
			return i
		}
	}
}
