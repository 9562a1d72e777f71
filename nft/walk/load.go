package walk

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

func sourceOffset(f nft.Family) uint32 {
	if f == nft.IPv6 {
		return 8
	}
	return 12
}

// payload loads a part of the packet.
func (w *walker) payload(s *state, at *step) {
	s.setSymbol(at.dst, at.length, word{symbol: unknown})
	header, first := []byte(nil), uint32(0) // what is known of it, and from where on
	switch n := w.family.AddrLen(); at.key {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		first = sourceOffset(w.family)
		if at.flags == first && at.length <= n {
			s.setSymbol(at.dst, at.length, word{symbol: source, bits: uint8(min(8*at.length, 128))})
		}
		if s.from.Addr().IsValid() {
			header = s.from.Addr().AsSlice()
		} else {
			first += uint32(n)
		}
		header = append(header, s.to.Addr().AsSlice()...)
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		if first = 2; s.from.IsValid() {
			header, first = binary.BigEndian.AppendUint16(nil, s.from.Port()), 0
		}
		header = binary.BigEndian.AppendUint16(header, s.to.Port())
	}
	if at.flags >= first && int(at.flags-first)+at.length <= len(header) {
		s.set(at.dst, header[at.flags-first:][:at.length])
	}
}

func (w *walker) meta(s *state, at *step) {
	switch at.key {
	case unix.NFT_META_L4PROTO:
		s.set(at.dst, []byte{w.protocol})
	case unix.NFT_META_NFPROTO:
		s.set(at.dst, []byte{byte(w.family)})
	case unix.NFT_META_MARK:
		s.set(at.dst, nativeBytes(s.mark))
	case unix.NFT_META_PRIORITY:
		s.set(at.dst, nativeBytes(s.priority))
	case unix.NFT_META_PROTOCOL:
		s.set(at.dst, map[nft.Family][]byte{nft.IPv4: {0x08, 0x00}, nft.IPv6: {0x86, 0xdd}}[w.family])
	case unix.NFT_META_IIFNAME:
		s.setSymbol(at.dst, unix.IFNAMSIZ, word{symbol: iface})
		if w.concrete {
			s.set(at.dst, append([]byte(s.in), make([]byte, max(0, unix.IFNAMSIZ-len(s.in)))...))
		}
	default:
		s.registers[at.dst] = word{symbol: unknown}
	}
}

// Bits of a connection's state and status: IP_CT_NEW, and IPS_DST_NAT.
const (
	stateNew   = 1 << 3
	statusDNAT = 1 << 5
)

// conntrack loads something of the connection, of which this is the first packet.
func (w *walker) conntrack(s *state, at *step) {
	original := s.to
	if s.original.IsValid() {
		original = s.original
	}
	ofOriginal := len(at.data) == 1 && at.data[0] == 0
	s.registers[at.dst] = word{symbol: unknown}
	switch at.key {
	case unix.NFT_CT_STATE:
		s.set(at.dst, nativeBytes(stateNew))
	case unix.NFT_CT_STATUS:
		var status uint32
		if s.original.IsValid() {
			status = statusDNAT
		}
		s.set(at.dst, nativeBytes(status))
	case unix.NFT_CT_SRC, unix.NFT_CT_SRC_IP, unix.NFT_CT_SRC_IP6:
		s.setSymbol(at.dst, w.family.AddrLen(), word{symbol: source, bits: uint8(8 * w.family.AddrLen())})
		if s.from.Addr().IsValid() && ofOriginal && !s.masqueraded {
			s.set(at.dst, s.from.Addr().AsSlice())
		}
	case unix.NFT_CT_DST, unix.NFT_CT_DST_IP, unix.NFT_CT_DST_IP6:
		s.setSymbol(at.dst, w.family.AddrLen(), word{symbol: unknown})
		if ofOriginal {
			s.set(at.dst, original.Addr().AsSlice())
		}
	case unix.NFT_CT_PROTO_DST:
		if ofOriginal {
			s.set(at.dst, binary.BigEndian.AppendUint16(nil, original.Port()))
		}
	}
}

// fib loads the type of an address.
func (w *walker) fib(s *state, at *step) error {
	local := w.Local(s.to.Addr())
	switch {
	case at.key != unix.NFT_FIB_RESULT_ADDRTYPE:
		return fmt.Errorf("asks for result %d", at.key)
	case at.flags == unix.NFTA_FIB_F_SADDR:
		if local = w.client == node; s.from.IsValid() {
			local = w.Local(s.from.Addr())
		}
	case at.flags != unix.NFTA_FIB_F_DADDR:
		return fmt.Errorf("has flags %#x", at.flags)
	}
	kind := uint32(unix.RTN_UNICAST)
	if local {
		kind = unix.RTN_LOCAL
	}
	s.set(at.dst, nativeBytes(kind))
	return nil
}
