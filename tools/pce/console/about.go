package console

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
