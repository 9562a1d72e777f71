package nft

// DocumentTables is a ruleset for other programs. It is a form of our own:
// nft 1.0.6 has no JSON for the typeof of a map.
type DocumentTables struct {
	Tables []DocumentTable `json:"tables"`
}

// DocumentTable is one table of a document.
type DocumentTable struct {
	Family  string          `json:"family"`
	Name    string          `json:"name"`
	Comment string          `json:"comment,omitempty"`
	Sets    []DocumentSet   `json:"sets"`
	Chains  []DocumentChain `json:"chains"`
}

// DocumentSet is a set or map of a document.
type DocumentSet struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // set or map
	Comment string `json:"comment,omitempty"`
	// Key and Data are the fields that the parts of an element stand for.
	Key      []string          `json:"key"`
	Data     []string          `json:"data,omitempty"`
	Interval bool              `json:"interval,omitempty"`
	Elements []DocumentElement `json:"elements"`
}

// DocumentElement is an element of a document.
type DocumentElement struct {
	Key     []string `json:"key"`
	Data    []string `json:"data,omitempty"`
	Goto    string   `json:"goto,omitempty"`
	Comment string   `json:"comment,omitempty"`
}

// DocumentChain is a chain of a document.
type DocumentChain struct {
	Name     string   `json:"name"`
	Type     string   `json:"type,omitempty"`
	Hook     string   `json:"hook,omitempty"`
	Priority *int32   `json:"priority,omitempty"`
	Rules    []string `json:"rules"` // in nft's syntax
}

// Document makes a document of the tables.
func Document(contents ...Contents) DocumentTables {
	d := DocumentTables{Tables: []DocumentTable{}}
	for _, c := range contents {
		t := DocumentTable{Family: c.Family.String(), Name: c.Name, Comment: c.Comment, Sets: []DocumentSet{}, Chains: []DocumentChain{}}
		for _, s := range c.Sets {
			t.Sets = append(t.Sets, documentSet(c, s))
		}
		for _, chain := range c.Chains {
			t.Chains = append(t.Chains, documentChain(c.Family, chain))
		}
		d.Tables = append(d.Tables, t)
	}
	return d
}

func documentSet(c Contents, s *Set) DocumentSet {
	d := DocumentSet{
		Name: s.Name, Kind: s.Kind(), Comment: s.Comment, Interval: s.Interval,
		Key: fieldTexts(c.Family, s.Key), Data: fieldTexts(c.Family, s.Data),
		Elements: []DocumentElement{},
	}
	for _, e := range c.Elements[s] {
		d.Elements = append(d.Elements, DocumentElement{
			Key: rangeParts(c.Family, s.Key, e), Data: keyParts(c.Family, s.Data, e.Data), Goto: e.Goto, Comment: e.Comment,
		})
	}
	return d
}

func documentChain(f Family, c *Chain) DocumentChain {
	d := DocumentChain{Name: c.Name, Rules: []string{}}
	if c.Base != nil {
		d.Type, d.Hook, d.Priority = c.Base.Type, c.Base.Hook.String(), &c.Base.Priority
	}
	for _, r := range c.Rules {
		d.Rules = append(d.Rules, r.Text(f))
	}
	return d
}
