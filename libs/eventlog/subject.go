package eventlog

import (
	"fmt"
	"strconv"
	"strings"
)

// Subjects that have no parameters.
const (
	SettingsSubject = "facts.ctl.settings"
	LinkSubject     = "facts.ctl.link"

	factsAll          = "facts.>"
	policyAll         = "policy.>"
	setPrefix         = "policy.set."
	workloadPrefix    = "policy.workload."
	namespacesSubject = "policy.namespaces"
	headSubject       = "policy.head"
	windowSubject     = "policy.window"
	planPrefix        = "plan."
	statusPrefix      = "status."
	flowsPrefix       = "flows."
	snapPrefix        = "snap."
	alivePrefix       = "alive."
)

// KubernetesSubject names the facts of a Kubernetes object. kind is lower-cased; an empty namespace stands for an object
// of the cluster.
func KubernetesSubject(kind, namespace, name string) string {
	ns := "_"
	if namespace != "" {
		ns = Token(namespace)
	}
	return "facts.k8s." + Token(strings.ToLower(kind)) + "." + ns + "." + Token(name)
}

// ObjectSubject names the fact of an object that the PCE versions by the lower-case hexadecimal SHA-256 of its content.
func ObjectSubject(sha256 string) string { return "facts.pce.object." + Token(sha256) }

// ProvisionedSubject names the facts that list a provisioned version, chunk by chunk.
func ProvisionedSubject(chunk uint32) string {
	return "facts.pce.provisioned." + strconv.FormatUint(uint64(chunk), 10)
}

// LabelSubject names the facts of a PCE label by the last segment of its href.
func LabelSubject(id string) string { return "facts.pce.label." + Token(id) }

// ProfileSubject names the facts of a container workload profile by the last segment of its href.
func ProfileSubject(id string) string { return "facts.pce.profile." + Token(id) }

// LabelDimensionSubject names the facts of a key of labels by the last segment of its href.
func LabelDimensionSubject(id string) string { return "facts.pce.label_dimension." + Token(id) }

// PceWorkloadSubject names the facts of a workload of the console's own by the last segment of its href.
func PceWorkloadSubject(id string) string { return "facts.pce.workload." + Token(id) }

// PairingProfileSubject names the facts of a pairing profile by the last segment of its href.
func PairingProfileSubject(id string) string { return "facts.pce.pairing_profile." + Token(id) }

// AcknowledgedSubject names the facts by which the console knows a Kubernetes workload, by the last segment of its href.
func AcknowledgedSubject(id string) string { return "facts.pce.kubernetes_workload." + Token(id) }

// SyncedSubject names the facts by which a producer says that it is in sync.
func SyncedSubject(producer string) string { return "facts.ctl.synced." + Token(producer) }

// AliveSubject names the messages by which a producer says that it is there. They are not stored; ">" stands for all.
func AliveSubject(producer string) string {
	if producer == ">" {
		return alivePrefix + producer
	}
	return alivePrefix + Token(producer)
}

func setSubject(id string, chunk int) string {
	if chunk == 0 {
		return setPrefix + Token(id)
	}
	return setPrefix + Token(id) + "." + strconv.Itoa(chunk)
}
func workloadSubject(id string) string { return workloadPrefix + Token(id) }
func planSubject(node string) string   { return planPrefix + Token(node) }

const upperHex = "0123456789ABCDEF"

// Token makes one token of a subject of s: every byte that NATS reserves, and every byte outside of printable ASCII, is
// written as %XX. The empty string is "%". ParseToken is the inverse.
func Token(s string) string {
	if s == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; reserved(c) {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ParseToken gives back what Token was given. It refuses what Token does not write, so that one name has one token.
func ParseToken(token string) (string, error) {
	if token == "%" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '%' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("token %q: escape at byte %d is cut off", token, i)
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("token %q: escape at byte %d is not hexadecimal", token, i)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	if s := b.String(); s != "" && Token(s) == token {
		return s, nil
	}
	return "", fmt.Errorf("token %q: not in the form that Token writes", token)
}

func reserved(c byte) bool {
	switch c {
	case '.', '*', '>', '%', '/':
		return true
	}
	return c <= ' ' || c >= 0x7f
}

// Matches tells whether a filter with the wildcards of NATS matches a subject.
func Matches(filter, subject string) bool {
	for filter != "" && subject != "" {
		var want, got string
		want, filter, _ = strings.Cut(filter, ".")
		got, subject, _ = strings.Cut(subject, ".")
		switch {
		case want == ">":
			return true
		case want != "*" && want != got:
			return false
		}
	}
	return filter == "" && subject == ""
}

// validSubject says what is wrong with a subject to publish a fact on.
func validSubject(subject string) error {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 3 || tokens[0] != "facts" {
		return fmt.Errorf("subject %q: facts live under facts.<source>.<kind>", subject)
	}
	for _, t := range tokens {
		if _, err := ParseToken(t); err != nil {
			return fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return nil
}
