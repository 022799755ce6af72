package access

// Accounts beside the one that holds the log.
const (
	// Nodes is the account of the enforcers.
	Nodes = "NODES"
	// Viewers is the account of people.
	Viewers = "VIEWERS"
)

// Export is what an account takes over from the one that holds the log.
type Export struct {
	Subject string
	Kind    Kind
}

// Kind is how an export is used.
type Kind int

const (
	// Sent subjects are sent to the log, and answered once where the request asks for it.
	Sent Kind = iota
	// Batched subjects are answered by many messages.
	Batched
	// Heard subjects are listened to.
	Heard
)

// Exports lists what each account takes over. Which of it a single client may use is in its rights.
func Exports() map[string][]Export {
	viewers := []Export{{"query.*", Sent}, {"$JS.API.DIRECT.GET.POLICY.policy.>", Sent}}
	for _, stream := range viewed {
		viewers = append(viewers,
			Export{"$JS.API.STREAM.INFO." + stream, Sent},
			Export{"$JS.API.DIRECT.GET." + stream, Batched},
			Export{"$JS.API.DIRECT.GET." + stream + ".>", Sent})
	}
	return map[string][]Export{
		Viewers: viewers,
		Nodes: {
			{"policy.window", Heard}, {"plan.*", Heard}, {"status.*", Sent}, {"flows.*", Sent},
			{"$JS.API.DIRECT.GET.POLICY", Batched}, {"$JS.API.DIRECT.GET.POLICY.policy.>", Sent}, {"$JS.API.DIRECT.GET.PLAN.plan.*", Sent},
		},
	}
}
