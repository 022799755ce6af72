package clas

// portTable shares equal port sets among rules.
type portTable struct{ byKey map[string]*portSet }

// sharedPorts bounds the table. Beyond it, it begins anew: to share is a matter of memory alone.
const sharedPorts = 1 << 14

func (t *portTable) share(s portSet) *portSet {
	if have := t.byKey[s.key]; have != nil {
		return have
	}
	if t.byKey == nil || len(t.byKey) >= sharedPorts {
		t.byKey = map[string]*portSet{}
	}
	t.byKey[s.key] = &s
	return &s
}
