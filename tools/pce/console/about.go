package console

import (
	"net/http"
)

// health never says that something is wrong by its status: that is how the public API does it.
func (c *Console) health(r request) (response, error) {
	return ok([]rendered{{
		"status": "normal", "type": "standalone", "fqdn": hostOf(r.Request), "notifications": []struct{}{},
		"listen_only_mode_enabled_at": nil, "nodes": []struct{}{}, "generated_at": c.store.now(),
	}}), nil
}

// Version is the console's own, set at build time.
var Version = "0.1.0"

func productVersion() map[string]string {
	return map[string]string{
		"version": Version, "build": "ringfence", "short_display": Version, "long_display": Version + "-ringfence",
	}
}

func (c *Console) dimensions(r request) (response, error) {
	items := make([]rendered, len(dimensions))
	for i, d := range dimensions {
		items[i] = rendered{"href": d.Href, "key": d.Key, "display_name": d.DisplayName, "caps": []string{}}
	}
	return c.answerList(r, items)
}

func (c *Console) dimension(r request) (response, error) {
	for _, d := range dimensions {
		if d.Key == r.PathValue("id") {
			return response{status: http.StatusOK, body: d}, nil
		}
	}
	return response{}, notFound(org + "/label_dimensions/" + r.PathValue("id"))
}
