package decode

import "unicode/utf8"

// Kinds of values, the last three bits of a tag.
const (
	varintKind = 0
	fixedKind  = 1
	bytesKind  = 2
)

// span is a part of the data.
type span struct{ from, to int }

// reader reads the fields of a message that is encoded in a part of data. Once something is not plain it has failed, and has no
// more of them. Its place is a number: a string that is cut again and again would be a pointer for the collector to follow.
type reader struct {
	data    string
	at, end int
	// ascii tells that all bytes are below 128, and text need not be looked at.
	ascii  bool
	failed bool
}

// fail ends the reading.
func (r *reader) fail() { r.at, r.failed = r.end, true }

// more tells whether there is another field.
func (r *reader) more() bool { return r.at < r.end }

// varint reads a number, or the tag of a field.
func (r *reader) varint() uint64 {
	if r.at < r.end && r.data[r.at] < 0x80 {
		r.at++
		return uint64(r.data[r.at-1])
	}
	return r.longVarint()
}

// longVarint reads a number of up to nine bytes. Ten are for negative ones, which are not plain.
func (r *reader) longVarint() uint64 {
	v := uint64(0)
	for shift := 0; r.at < r.end && shift < 9*7; shift += 7 {
		b := r.data[r.at]
		r.at++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	r.fail()
	return 0
}

// fixed64 reads a number of eight bytes.
func (r *reader) fixed64() uint64 {
	if r.end-r.at < 8 {
		r.fail()
		return 0
	}
	v := word(r.data[r.at : r.at+8])
	r.at += 8
	return v
}

// word is the number in the first eight bytes, little endian.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// bytes reads what is led by its length.
func (r *reader) bytes() span {
	n := r.varint()
	if n > uint64(r.end-r.at) {
		r.fail()
		return span{}
	}
	from := r.at
	r.at += int(n)
	return span{from, r.at}
}

// text reads bytes that must be UTF-8.
func (r *reader) text() string {
	s := r.bytes()
	v := r.data[s.from:s.to]
	if !r.ascii && !utf8.ValidString(v) {
		r.fail()
		return ""
	}
	return v
}

// textSpan is text, and tells where it is.
func (r *reader) textSpan() span {
	s := r.bytes()
	if !r.ascii && !utf8.ValidString(r.data[s.from:s.to]) {
		r.fail()
		return span{}
	}
	return s
}

// inner reads an embedded message.
func (r *reader) inner() reader {
	s := r.bytes()
	return reader{data: r.data, at: s.from, end: s.to, ascii: r.ascii}
}

// leave takes over how the reading of an embedded message ended.
func (r *reader) leave(inner *reader) {
	if inner.failed {
		r.fail()
	}
}

// isASCII tells whether all bytes are below 128.
func isASCII(s string) bool {
	for ; len(s) >= 8; s = s[8:] {
		if word(s)&0x8080808080808080 != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
