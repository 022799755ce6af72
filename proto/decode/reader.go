package decode

import "unicode/utf8"

// Kinds of values, the last three bits of a tag.
const (
	varintKind = 0
	fixedKind  = 1
	bytesKind  = 2
)

// reader reads the fields of an encoded message. Once something is not plain it has failed, and has no more of them.
type reader struct {
	rest   string
	failed bool
}

// fail ends the reading.
func (r *reader) fail() { r.rest, r.failed = "", true }

// more tells whether there is another field.
func (r *reader) more() bool { return r.rest != "" }

// varint reads a number, or the tag of a field.
func (r *reader) varint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v := uint64(r.rest[0])
		r.rest = r.rest[1:]
		return v
	}
	return r.longVarint()
}

// longVarint reads a number of up to nine bytes. Ten are for negative ones, which are not plain.
func (r *reader) longVarint() uint64 {
	v := uint64(0)
	for i := 0; i < len(r.rest) && i < 9; i++ {
		b := r.rest[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

// fixed64 reads a number of eight bytes.
func (r *reader) fixed64() uint64 {
	if len(r.rest) < 8 {
		r.fail()
		return 0
	}
	v := uint64(0)
	for i := range 8 {
		v |= uint64(r.rest[i]) << (8 * i)
	}
	r.rest = r.rest[8:]
	return v
}

// bytes reads what is led by its length.
func (r *reader) bytes() string {
	n := r.varint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	v := r.rest[:n]
	r.rest = r.rest[n:]
	return v
}

// text reads bytes that must be UTF-8.
func (r *reader) text() string {
	v := r.bytes()
	if !utf8.ValidString(v) {
		r.fail()
		return ""
	}
	return v
}

// inner reads an embedded message.
func (r *reader) inner() reader { return reader{rest: r.bytes(), failed: r.failed} }

// leave takes over how the reading of an embedded message ended.
func (r *reader) leave(inner reader) {
	if inner.failed {
		r.fail()
	}
}
