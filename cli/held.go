package cli

import (
	"fmt"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
	"github.com/kube-verdict/kube-verdict/nft/maps"
)

// held is what the kernel of this network namespace has of ours.
type held struct {
	layout *maps.Layout
	// told says that the layout was told by the tables.
	told   bool
	tables map[nft.ID]*nft.Held
	// remembered are the clients that session affinity keeps, by table.
	remembered map[nft.ID][]nft.Element
}

// readKernel reads our tables. The layout is the one that they were made with, if
// that can be told and no flag says otherwise.
func readKernel(config maps.Config, asked bool) (*held, error) {
	conn, err := kernel.Open(0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	h := &held{tables: map[nft.ID]*nft.Held{}, remembered: map[nft.ID][]nft.Element{}, layout: maps.NewLayout(config)}
	var all []*nft.Held
	for _, t := range h.layout.Tables() {
		table, err := conn.Read(t.ID())
		if err != nil {
			return nil, err
		}
		all = append(all, table)
		if table == nil {
			continue
		}
		h.tables[t.ID()] = table
		memory := h.layout.Memory(t).Remembered
		if table.Sets[memory.Name] == nil {
			continue
		}
		if h.remembered[t.ID()], err = conn.Elements(t.ID(), memory.Name); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.ID(), err)
		}
	}
	if found, ok := maps.ConfigOf(all); ok && !asked {
		h.layout, h.told = maps.NewLayout(found), true
	}
	return h, nil
}

// any says whether there is a table of ours.
func (h *held) any() bool { return len(h.tables) > 0 }
