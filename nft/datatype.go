package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables"
)

// datatype is how nft reads the bytes of one part of a key.
type datatype struct {
	id   uint32 // nft's number for the type, kept in the set for listings
	name string // what nft calls the type; empty if a set's "type" can't have it
	// part is nft's number in a concatenation, if that is another one than id.
	part  uint32
	len   int    // bytes, before padding to registers
	order uint32 // byte order as nft's user data counts it
	print func(b string) string
}

// Byte orders in nft's set user data.
const (
	orderHost    = 1
	orderNetwork = 2
)

func addrType(f Family) datatype {
	id, name := nftables.TypeIPAddr.GetNFTMagic(), "ipv4_addr"
	if f == IPv6 {
		id, name = nftables.TypeIP6Addr.GetNFTMagic(), "ipv6_addr"
	}
	return datatype{id: id, name: name, len: f.AddrLen(), order: orderNetwork, print: func(b string) string {
		a, _ := netip.AddrFromSlice([]byte(b))
		return a.String()
	}}
}

func protoType() datatype {
	return datatype{id: nftables.TypeInetProto.GetNFTMagic(), name: "inet_proto", len: 1, order: orderNetwork, print: printProto}
}

func printProto(b string) string {
	switch b[0] {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(b[0]))
}

func portType() datatype {
	return datatype{id: nftables.TypeInetService.GetNFTMagic(), name: "inet_service", len: 2, order: orderNetwork, print: func(b string) string {
		return strconv.Itoa(int(binary.BigEndian.Uint16([]byte(b))))
	}}
}

// slotType is a number. For nft 0.9.8, which has no typeof for numgen, a number of no
// named type has no length in a concatenation: it aborts when it lists two elements.
// So there it is a mark, which has a length; newer versions go by the typeof.
func slotType() datatype {
	return datatype{id: nftables.TypeInteger.GetNFTMagic(), part: nftables.TypeMark.GetNFTMagic(), len: 4, order: orderHost, print: func(b string) string {
		return strconv.FormatUint(uint64(binary.NativeEndian.Uint32([]byte(b))), 10)
	}}
}

// priorityType is a number that nft shows as the handle of a traffic class:
// major:minor, in hexadecimal.
func priorityType() datatype {
	return datatype{id: nftables.TypeClassID.GetNFTMagic(), name: "classid", len: 4, order: orderHost, print: func(b string) string {
		v := binary.NativeEndian.Uint32([]byte(b))
		switch v {
		case 0:
			return "none"
		case 1<<32 - 1:
			return "root"
		}
		return fmt.Sprintf("%x:%x", v>>16, v&0xffff)
	}}
}

// padded is the room that a value of n bytes takes in a concatenation: whole
// 32-bit registers.
func padded(n int) int { return (n + 3) &^ 3 }

// KeyLen is the length in bytes of a key made of fields.
func KeyLen(f Family, fields []Field) int {
	n := 0
	for _, field := range fields {
		n += padded(field.spec(f).typ.len)
	}
	return n
}

// FieldLen is the length in bytes of a field by itself.
func FieldLen(f Family, field Field) int { return field.spec(f).typ.len }

// typeID is nft's number for the type of a concatenation: six bits a part.
func typeID(f Family, fields []Field) uint32 {
	var id uint32
	for _, field := range fields {
		t := field.spec(f).typ
		if t.part != 0 && len(fields) > 1 {
			t.id = t.part
		}
		id = id<<typeBits | t.id
	}
	return id
}

// typeBits is how many bits nft has for each type in a concatenation.
const typeBits = 6

// sameTypes reports whether a set of the kernel has the types of these fields: as we
// write them, or as nft does.
func sameTypes(f Family, fields []Field, held uint32) bool {
	for i := len(fields) - 1; i >= 0; i-- {
		t, id := fields[i].spec(f).typ, held&(1<<typeBits-1)
		if id != t.id && (id != t.part || t.part == 0) {
			return false
		}
		held >>= typeBits
	}
	return held == 0
}

// typeNames are nft's names for the types of fields, or "" if one has no name.
func typeNames(f Family, fields []Field) string {
	names := make([]string, len(fields))
	for i, field := range fields {
		if names[i] = field.spec(f).typ.name; names[i] == "" {
			return ""
		}
	}
	return strings.Join(names, " . ")
}

// printKey is the concatenation b as nft lists it.
func printKey(f Family, fields []Field, b string) string {
	return strings.Join(keyParts(f, fields, b), " . ")
}

// keyParts are the parts of the concatenation b as nft lists them.
func keyParts(f Family, fields []Field, b string) []string {
	if b == "" {
		return nil
	}
	if len(b) != KeyLen(f, fields) {
		return []string{fmt.Sprintf("0x%x", b)} // not ours; still say what it is
	}
	parts := make([]string, len(fields))
	for i, field := range fields {
		t := field.spec(f).typ
		parts[i] = t.print(b[:t.len])
		b = b[padded(t.len):]
	}
	return parts
}
