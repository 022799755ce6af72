package onboarding

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// JSON writes the result for programs.
func (r Result) JSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// Values writes what the chart needs, as a part of its values. It refuses to write a part that would not do.
func (r Result) Values(w io.Writer) error {
	if r.Onboarding == nil {
		return errors.New("there are values only for a cluster: name it with --cluster")
	}
	if missing := r.missing(); len(missing) > 0 {
		return fmt.Errorf("cluster %s exists, and its %s were given when it was made: make new ones with --renew %s",
			r.Cluster, strings.Join(missing, " and "), strings.Join(missing, ","))
	}
	if _, err := fmt.Fprintf(w, "# Cluster %s in the console at %s. It holds secrets.\n", r.Cluster, r.URL); err != nil {
		return err
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	err := encoder.Encode(struct {
		URL    string `yaml:"pce_url"`
		ID     string `yaml:"cluster_id"`
		Token  string `yaml:"cluster_token"`
		Code   string `yaml:"cluster_code"`
		RootCA string `yaml:"pceRootCA,omitempty"`
	}{r.URL, r.ClusterID, r.ClusterToken, r.ClusterCode, r.RootCA})
	return errors.Join(err, encoder.Close())
}

// missing names the secrets of the cluster that cannot be shown again.
func (r Result) missing() (names []string) {
	if r.ClusterToken == "" {
		names = append(names, ClusterToken)
	}
	if r.ClusterCode == "" {
		names = append(names, ClusterCode)
	}
	return names
}

// Text writes the result for people, with what to do next.
func (r Result) Text(w io.Writer) error { return words.Execute(w, r) }

// Loopback tells whether the console's address is of no use to another machine.
func (r Result) Loopback() bool {
	host, _, _ := strings.Cut(r.URL, ":")
	return host == "localhost" || strings.HasPrefix(host, "127.") || strings.HasPrefix(r.URL, "[::1]")
}

// Needs gives the value of --renew that shows what is missing.
func (r Result) Needs() string { return strings.Join(r.missing(), ",") }

var words = template.Must(template.New("result").Funcs(template.FuncMap{
	"secret": func(given string) string {
		if given == "" {
			return "(was given when it was made, and is not kept)"
		}
		return given + "   <- given only now: keep it"
	},
}).Parse(`console         {{.URL}}{{if .Loopback}}   (of use on this machine only: name it with --host or --pce-url){{end}}
organisation    {{.OrgID}}
api_key         {{.APIKey.ID}}
api_secret      {{secret .Secret}}
{{- with .Onboarding}}
cluster         {{$.Cluster}}{{if not .Created}} (exists){{end}}
cluster_id      {{.ClusterID}}
cluster_token   {{secret .ClusterToken}}
cluster_code    {{secret .ClusterCode}}
{{- end}}
{{- if .Data}}

Serve it:
  pce serve --data {{.Data}} --host {{.Hosts}}
{{- end}}
{{- if .CAFile}}

Trust it: its certificate is of an authority of its own, {{.CAFile}}
  a client      curl --cacert {{.CAFile}} --user {{.APIKey.ID}}:SECRET https://{{.URL}}/api/v2/orgs/{{.OrgID}}/labels
  this machine  cp {{.CAFile}} /usr/local/share/ca-certificates/ringfence-pce.crt && update-ca-certificates
  the chart     --set-file pceRootCA={{.CAFile}}
{{- end}}
{{- with .Onboarding}}

Connect the cluster:
{{- if $.ValuesFile}}
  helm install ringfence deploy/helm/ringfence --namespace illumio-system --create-namespace --values {{$.ValuesFile}}
{{- else if $.Needs}}
  its {{$.Needs}} cannot be shown again. A new one is made by --renew {{$.Needs}};
  a new token cuts off whoever uses the one before, a new code leaves those before good.
{{- else}}
  helm install ringfence deploy/helm/ringfence --namespace illumio-system --create-namespace \
    --set pce_url={{$.URL}} --set cluster_id={{.ClusterID}} \
    --set cluster_token={{.ClusterToken}} \
    --set cluster_code={{.ClusterCode}}
  {{- if $.CAFile}} \
    --set-file pceRootCA={{$.CAFile}}
  {{- end}}
{{- end}}
{{- end}}
`))
