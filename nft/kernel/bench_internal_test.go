package kernel

import (
	"fmt"
	"testing"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// BenchmarkEncode is the time to make netlink messages of a transaction, into a buffer
// that is kept.
func BenchmarkEncode(b *testing.B) {
	frontend := []nft.Field{nft.DestAddr{}, nft.L4Proto{}, nft.DestPort{}}
	verdicts := &nft.Set{Name: "services", Key: frontend, Verdicts: true}
	data := &nft.Set{Name: "endpoints", Key: append(frontend[:3:3], nft.Random{Mod: 1 << 16}), Data: []nft.Field{nft.DestAddr{}, nft.DestPort{}}}
	table := &nft.Table{Family: nft.IPv4, Name: "bench", Sets: []*nft.Set{verdicts, data}}
	for _, n := range []int{2, 100, 10_000} {
		var tx nft.Transaction
		for i := range n {
			key := string([]byte{10, 96, byte(i >> 8), byte(i), 6, 0, 0, 0, 0, 80, 0, 0})
			if i%10 == 0 {
				tx = append(tx, nft.Op{Table: table, Set: verdicts, Element: nft.Element{Key: key, Goto: "cluster-9", Comment: "namespace/service:http"}})
				continue
			}
			tx = append(tx, nft.Op{Table: table, Set: data, Element: nft.Element{Key: key + "\x00\x00\x00\x01", Data: "\x0a\x80\x00\x01\x1f\x90\x00\x00"}})
		}
		b.Run(fmt.Sprintf("elements=%d", n), func(b *testing.B) {
			var out nfnetlink.Encoder
			var nl nfnetlink.Socket
			b.ReportAllocs()
			for b.Loop() {
				batch := &batch{Encoder: &out, tx: tx, nl: &nl}
				if err := batch.encode(); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(out.B)))
		})
	}
}
