package flowlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// Messages and settings of NFLOG, from the kernel's nfnetlink_log.h.
const (
	messagePacket = unix.NFNL_SUBSYS_ULOG << 8
	messageConfig = unix.NFNL_SUBSYS_ULOG<<8 | 1

	configCommand   = 1
	configMode      = 2
	configBuffer    = 3
	configTimeout   = 4
	configThreshold = 5
	configFlags     = 6

	commandBind  = 1
	copyPacket   = 2
	flagSequence = 1

	nfgenBytes = 4
)

// What the kernel is asked for: it hands packets over when 64 wait or after half a second, and a burst of some 20,000
// waits in the socket while the reader is busy.
const (
	socketBytes   = 4 << 20
	batchBytes    = 32 << 10
	threshold     = 64
	timeoutCenti  = 50
	snapshotBytes = 96
)

// Reader reads the events of one network namespace.
type Reader struct {
	conn *netlink.Conn
	// sequence is the number that the next packet must have.
	sequence uint32
	started  bool
}

// Open binds to the group in the namespace. It fails with EBUSY while another process is bound there.
func Open(ns *podnetns.Handle, group uint16) (*Reader, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns.FD()})
	if err != nil {
		return nil, fmt.Errorf("open NFLOG in %s: %w", ns.Path(), err)
	}
	if err := bind(conn, group); err != nil {
		return nil, errors.Join(fmt.Errorf("bind to NFLOG group %d in %s: %w", group, ns.Path(), err), conn.Close())
	}
	return &Reader{conn: conn}, nil
}

func bind(conn *netlink.Conn, group uint16) error {
	if err := conn.SetReadBuffer(socketBytes); err != nil {
		return fmt.Errorf("set the receive buffer: %w", err)
	}
	mode := append(binary.BigEndian.AppendUint32(nil, snapshotBytes), copyPacket, 0)
	settings := [][]netlink.Attribute{
		{{Type: configCommand, Data: []byte{commandBind}}},
		{{Type: configMode, Data: mode}},
		{
			{Type: configBuffer, Data: binary.BigEndian.AppendUint32(nil, batchBytes)},
			{Type: configTimeout, Data: binary.BigEndian.AppendUint32(nil, timeoutCenti)},
			{Type: configThreshold, Data: binary.BigEndian.AppendUint32(nil, threshold)},
			{Type: configFlags, Data: binary.BigEndian.AppendUint16(nil, flagSequence)},
		},
	}
	for _, attributes := range settings {
		if err := configure(conn, group, attributes); err != nil {
			return err
		}
	}
	return nil
}

func configure(conn *netlink.Conn, group uint16, attributes []netlink.Attribute) error {
	body, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return err
	}
	header := append([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, binary.BigEndian.AppendUint16(nil, group)...)
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: messageConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(header, body...),
	})
	return err
}

// Run gives every event to sink, and to lost the number of packets that the kernel could not hand over or that could not
// be read, until Close. It returns nil after Close.
func (r *Reader) Run(sink func(Event), lost func(uint64)) error {
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("read NFLOG: %w", err)
	}
	buf := make([]byte, 2*batchBytes)
	for {
		n, err := receive(raw, buf)
		switch {
		case err == nil:
			r.readDatagram(buf[:n], sink, lost)
		case errors.Is(err, unix.ENOBUFS):
			// The socket overflowed. The gap in the sequence numbers says how many were lost.
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, errEnded):
			return nil
		default:
			return fmt.Errorf("read NFLOG: %w", err)
		}
	}
}

// errEnded says that the socket was closed.
var errEnded = errors.New("socket is closed")

// rawConn is the part of syscall.RawConn that receive needs.
type rawConn interface {
	Read(f func(fd uintptr) bool) error
}

// receive reads one datagram into buf, without allocating.
func receive(raw rawConn, buf []byte) (n int, err error) {
	ended := raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), buf)
		return !errors.Is(err, unix.EAGAIN)
	})
	if ended != nil {
		return 0, errEnded
	}
	return n, err
}

// readDatagram takes a datagram of messages apart. What cannot be read counts as lost; one that breaks off ends it.
func (r *Reader) readDatagram(data []byte, sink func(Event), lost func(uint64)) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(data))
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			lost(1)
			return
		}
		if binary.NativeEndian.Uint16(data[4:]) == messagePacket {
			r.readMessage(data[unix.NLMSG_HDRLEN:length], sink, lost)
		}
		data = data[min(align(length), len(data)):]
	}
}

func (r *Reader) readMessage(data []byte, sink func(Event), lost func(uint64)) {
	p, err := parsePacket(data)
	if err != nil {
		lost(1)
		return
	}
	if gap := p.sequence - r.sequence; r.started && gap > 0 && gap < 1<<31 {
		lost(uint64(gap))
	}
	r.started, r.sequence = true, p.sequence+1
	e, err := p.event()
	switch {
	case err == nil:
		sink(e)
	case !errors.Is(err, errForeign):
		lost(1)
	}
}

// Close ends Run and unbinds.
func (r *Reader) Close() error { return r.conn.Close() }

// align rounds up to the four bytes that netlink pads to.
func align(n int) int { return (n + 3) &^ 3 }
