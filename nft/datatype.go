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
	id    uint32 // nft's number for the type, kept in the set for listings
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
	id := nftables.TypeIPAddr.GetNFTMagic()
	if f == IPv6 {
		id = nftables.TypeIP6Addr.GetNFTMagic()
	}
	return datatype{id: id, len: f.AddrLen(), order: orderNetwork, print: func(b string) string {
		a, _ := netip.AddrFromSlice([]byte(b))
		return a.String()
	}}
}

func protoType() datatype {
	return datatype{id: nftables.TypeInetProto.GetNFTMagic(), len: 1, order: orderNetwork, print: printProto}
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
	return datatype{id: nftables.TypeInetService.GetNFTMagic(), len: 2, order: orderNetwork, print: func(b string) string {
		return strconv.Itoa(int(binary.BigEndian.Uint16([]byte(b))))
	}}
}

func slotType() datatype {
	return datatype{id: nftables.TypeInteger.GetNFTMagic(), len: 4, order: orderHost, print: func(b string) string {
		return strconv.FormatUint(uint64(binary.NativeEndian.Uint32([]byte(b))), 10)
	}}
}

// priorityType is a number that nft shows as the handle of a traffic class:
// major:minor, in hexadecimal.
func priorityType() datatype {
	return datatype{id: nftables.TypeClassID.GetNFTMagic(), len: 4, order: orderHost, print: func(b string) string {
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
		id = id<<6 | field.spec(f).typ.id
	}
	return id
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
