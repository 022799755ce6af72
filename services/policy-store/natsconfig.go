package policystore

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
)

// Accounts of an external cluster beside those of libs/access.
const (
	accountLog     = "LOG"     // holds the log
	accountCallout = "CALLOUT" // where servers ask who a client is
	accountSystem  = "SYS"     // the servers' own
)

// nowhere is a subject of the log's account that nobody answers.
const nowhere = "nowhere"

// NATSConfig is the command that writes the configuration of an external cluster's servers.
type NATSConfig struct {
	Mirror string `help:"Name under which the log is mirrored, as policy-store with --mirror-offer says it: adds what a mirror may reach." placeholder:"NAME"`

	Dir string `arg:"" name:"keys-dir" help:"Folder of the keys; those that it lacks are made. policy-store needs it as --nats-keys-dir, and nobody else."`
}

// Write makes the keys that are lacking, and writes what the servers' configuration needs so that the rights of
// libs/access hold on them: accounts, what they take over from each other, and whom to ask about a client. No secret is in it.
func (c NATSConfig) Write(w io.Writer) error {
	if err := makeNATSKeys(c.Dir); err != nil {
		return err
	}
	keys, err := readNATSKeys(c.Dir)
	if err != nil {
		return err
	}
	text, err := natsConfig(keys, c.Mirror)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// configured is what natsTemplate is filled with.
type configured struct {
	Key          map[string]string // public halves
	AuthTimeout  int
	AnswerWithin time.Duration
	Host         *server.Permissions
	Delegated    []string // accounts
	Exports      []configuredExport
	Imports      map[string][]access.Export
	Mirror       []eventlog.MirrorLink // empty where there is none
}

type configuredExport struct {
	access.Export
	Accounts []string
}

func natsConfig(keys natsKeys, mirrorName string) (string, error) {
	c := configured{Key: map[string]string{}, AuthTimeout: authTimeout, AnswerWithin: answerWithin, Host: permissions(access.Host()), Imports: access.Exports()}
	for name := range keyKinds {
		public, err := keys.public(name)
		if err != nil {
			return "", err
		}
		c.Key[name] = public
	}
	if mirrorName != "" {
		if strings.Trim(mirrorName, nameCharacters) != "" {
			return "", fmt.Errorf("mirror: %q is no name of a log", mirrorName)
		}
		c.Mirror = eventlog.MirrorLinks(mirrorName)
	}
	c.Delegated = slices.Sorted(maps.Keys(c.Imports))
	var err error
	if c.Exports, err = exported(c.Imports); err != nil {
		return "", err
	}
	var b strings.Builder
	if err := natsTemplate.Execute(&b, c); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	return b.String(), nil
}

// nameCharacters are those of the names that logs give themselves.
const nameCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// exported joins what several accounts take over.
func exported(imports map[string][]access.Export) ([]configuredExport, error) {
	by := map[string]*configuredExport{}
	for _, account := range slices.Sorted(maps.Keys(imports)) {
		for _, e := range imports[account] {
			known := by[e.Subject]
			if known == nil {
				known = &configuredExport{Export: e}
				by[e.Subject] = known
			}
			if known.Kind != e.Kind {
				return nil, fmt.Errorf("account %s: %s is taken over in another way than elsewhere", account, e.Subject)
			}
			known.Accounts = append(known.Accounts, account)
		}
	}
	out := make([]configuredExport, 0, len(by))
	for _, e := range by {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b configuredExport) int { return cmp.Compare(a.Subject, b.Subject) })
	return out, nil
}

// natsTemplate is in the language of nats-server. A client that is no user of an account here is asked about; users of
// other accounts that an operator adds are not.
var natsTemplate = template.Must(template.New("").Funcs(template.FuncMap{
	"list": func(all []string) string {
		quoted := make([]string, len(all))
		for i, s := range all {
			quoted[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	},
	"heard":   func(e access.Export) bool { return e.Kind == access.Heard },
	"batched": func(e access.Export) bool { return e.Kind == access.Batched },
}).Parse(`# Who may do what on Ringfence's event log. Written by policy-store nats-config: write it anew with each version of Ringfence,
# and include it in the configuration of every server of the cluster. It holds public keys alone.

max_control_line: 20KB # a token comes on one line
system_account: ` + accountSystem + `

authorization {
  timeout: {{.AuthTimeout}}
  auth_callout {
    issuer: {{.Key.issuer}}
    xkey: {{.Key.xkey}}
    account: ` + accountCallout + `
    auth_users: [{{.Key.callout}}, {{index .Key "policy-store"}}, {{.Key.system}}]
    allowed_accounts: {{list .Delegated}}
  }
}

accounts {
  ` + accountSystem + ` {
    users: [ { nkey: {{.Key.system}}, permissions: {
      publish: ["` + pingConnections + `", "` + kickAnywhere + `"]
      subscribe: ["_INBOX.` + systemName + `.>"]
    } } ]
  }
  ` + accountCallout + ` {
    users: [ { nkey: {{.Key.callout}}, permissions: {
      publish: { deny: [">"] }
      subscribe: ["{{.CalloutSubject}}"]
      allow_responses: { max: 1, expires: "{{.AuthTimeout}}s" }
    } } ]
  }
  ` + accountLog + ` {
    jetstream: enabled
    users: [ { nkey: {{index .Key "policy-store"}}, permissions: {
      publish: {{list .Host.Publish.Allow}}
      subscribe: {{list .Host.Subscribe.Allow}}
      allow_responses: { max: {{.Host.Response.MaxMsgs}}, expires: "{{.Host.Response.Expires}}" }
    } } ]
    exports: [
{{- range .Exports}}
      { {{if heard .Export}}stream: {{printf "%q" .Subject}}{{else}}service: {{printf "%q" .Subject}}, response: {{if batched .Export}}stream{{else}}single{{end}}, threshold: "{{$.AnswerWithin}}"{{end}}, accounts: {{list .Accounts}} }
{{- end}}
{{- range .Mirror}}
      { {{if .Heard}}stream{{else}}service{{end}}: {{printf "%q" .Log}}, accounts: [` + accountMirror + `] }
{{- end}}
      { service: "` + nowhere + `", accounts: {{list .Delegated}} }
    ]
  }
{{- range $account, $imports := .Imports}}
  {{$account}} {
    imports: [
      # Whoever imports this gets no JetStream of their own, whose answers would race with the log's.
      { service: { account: ` + accountLog + `, subject: "` + nowhere + `" }, to: "` + server.JSApiAccountInfo + `" }
{{- range $imports}}
      { {{if heard .}}stream{{else}}service{{end}}: { account: ` + accountLog + `, subject: {{printf "%q" .Subject}} } }
{{- end}}
    ]
  }
{{- end}}
{{- if .Mirror}}
  ` + accountMirror + ` {
    imports: [
{{- range .Mirror}}
      { {{if .Heard}}stream{{else}}service{{end}}: { account: ` + accountLog + `, subject: {{printf "%q" .Log}} }{{if ne .Mirror .Log}}, to: {{printf "%q" .Mirror}}{{end}} }
{{- end}}
    ]
  }
{{- end}}
}
`))

// CalloutSubject is where servers ask.
func (configured) CalloutSubject() string { return server.AuthCalloutSubject }
