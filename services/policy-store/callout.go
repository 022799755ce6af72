package policystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/ringfence/ringfence/libs/access"
	"github.com/ringfence/ringfence/libs/eventlog"
)

const (
	// calloutName and systemName are the names under which policy-store dials beside that of its work on the log.
	calloutName = access.PolicyStore + "-callout"
	systemName  = access.PolicyStore + "-system"
	// calloutQueue lets those share the work who answer.
	calloutQueue = "ringfence"
	// calloutWorkers look at tokens at once, and calloutBacklog requests wait for them, each no longer than its server waits.
	calloutWorkers, calloutBacklog = 16, 4096
	// pingConnections asks all servers for their connections, and kickAnywhere ends one at any of them.
	pingConnections = "$SYS.REQ.SERVER.PING.CONNZ"
	kickAnywhere    = "$SYS.REQ.SERVER.*.KICK"
)

// errRequest says that what a server asked cannot be answered.
var errRequest = errors.New("no request of a server of the cluster")

// callout lets clients into an external cluster: its servers ask about each by auth callout, and it answers with the rights
// of who they are, signed. While nobody answers, nobody new gets in; who is in stays.
type callout struct {
	*admission
	keys natsKeys
}

// serve answers on a connection until ctx ends.
func (c *callout) serve(ctx context.Context, nc *nats.Conn, ready func()) error {
	requests := make(chan *nats.Msg, calloutBacklog)
	sub, err := nc.ChanQueueSubscribe(server.AuthCalloutSubject, calloutQueue, requests)
	if err == nil {
		err = nc.FlushTimeout(verifyTimeout)
	}
	if err != nil {
		return fmt.Errorf("listen to the servers' questions: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	ready()
	done := make(chan struct{})
	for range calloutWorkers {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-requests:
					c.answer(ctx, m)
				}
			}
		}()
	}
	for range calloutWorkers {
		<-done
	}
	return ctx.Err()
}

// answer answers one request. Where it cannot even be read, the server gets no answer, and refuses when its time is up.
func (c *callout) answer(ctx context.Context, m *nats.Msg) {
	request, err := c.read(m.Header.Get(server.AuthRequestXKeyHeader), m.Data)
	if err != nil {
		c.refuse(err, "", "")
		return
	}
	answer, err := c.decide(ctx, request)
	if err != nil {
		c.refuse(err, request.ConnectOptions.Name, request.ClientInformation.Host)
		answer = jwt.NewAuthorizationResponseClaims(request.UserNkey)
		answer.Error = err.Error()
	}
	sealed, err := c.seal(answer, request)
	if err == nil {
		err = m.Respond(sealed)
	}
	if err != nil {
		c.log.Error().Err(err).Str("server", request.Server.Name).Msg("a server of the cluster got no answer about a client")
	}
}

// read opens what a server asked, and verifies that the server itself signed it.
func (c *callout) read(sender string, sealed []byte) (*jwt.AuthorizationRequestClaims, error) {
	if sender == "" {
		return nil, fmt.Errorf("%w: it is not encrypted; configure the servers with what policy-store nats-config writes", errRequest)
	}
	if !nkeys.IsValidPublicCurveKey(sender) {
		return nil, fmt.Errorf("%w: its sender names no key", errRequest)
	}
	data, err := c.keys[keyBox].Open(sealed, sender)
	if err != nil {
		return nil, fmt.Errorf("%w: it is encrypted for another key; configure the servers with what policy-store nats-config writes", errRequest)
	}
	request, err := jwt.DecodeAuthorizationRequestClaims(string(data))
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be read", errRequest)
	}
	found := jwt.CreateValidationResults()
	request.Validate(found)
	switch {
	case !found.IsEmpty():
		return nil, fmt.Errorf("%w: %s", errRequest, found.Issues[0].Description)
	case request.Audience != server.AuthRequestSubject || request.Server.XKey != sender || request.Server.ID != request.Issuer:
		return nil, fmt.Errorf("%w: it is for another purpose, or of another server than its sender", errRequest)
	}
	return request, nil
}

// decide says as whom a client is let in.
func (c *callout) decide(ctx context.Context, request *jwt.AuthorizationRequestClaims) (*jwt.AuthorizationResponseClaims, error) {
	if kind := request.ClientInformation; kind.Kind != "Client" || kind.Type != "nats" {
		return nil, errKind
	}
	who, err := c.admit(ctx, request.ConnectOptions.Token, request.ConnectOptions.Password)
	if err != nil {
		return nil, err
	}
	user, err := claims(request.UserNkey, who).Encode(c.keys[keyIssuer])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", who.id, err)
	}
	answer := jwt.NewAuthorizationResponseClaims(request.UserNkey)
	answer.Jwt = user
	return answer, nil
}

// claims puts rights into the terms of a user's JWT. What is not named is forbidden: there, an empty list would allow
// everything.
func claims(key string, who admitted) *jwt.UserClaims {
	u := jwt.NewUserClaims(key)
	u.Name, u.Expires = who.user(), who.id.Deadline.Unix()
	if u.Audience = who.rights.Account; u.Audience == "" {
		u.Audience = accountLog
	}
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard)
	u.Pub.Allow, u.Sub.Allow = who.rights.Publish, who.rights.Subscribe
	for _, p := range []*jwt.Permission{&u.Pub, &u.Sub} {
		if len(p.Allow) == 0 {
			p.Deny.Add(">")
		}
	}
	if p := permissions(who.rights).Response; p != nil {
		u.Resp = &jwt.ResponsePermission{MaxMsgs: p.MaxMsgs, Expires: p.Expires}
	}
	return u
}

// seal signs an answer and encrypts it for the server that asked.
func (c *callout) seal(answer *jwt.AuthorizationResponseClaims, request *jwt.AuthorizationRequestClaims) ([]byte, error) {
	answer.Audience = request.Server.ID
	text, err := answer.Encode(c.keys[keyIssuer])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return c.keys[keyBox].Seal([]byte(text), request.Server.XKey)
}

// everywhere are the connections of all servers of a cluster, over a connection in the servers' own account.
type everywhere struct {
	nc   *nats.Conn
	page int // connections of one answer
}

const (
	// pageOfConnections keeps an answer below the size of a message.
	pageOfConnections = 512
	// answersPause is how long no server may have answered before all are taken to have.
	answersPause = time.Second
	// maxServers bounds how many answers are read to one question, and maxConnections how many connections a server is asked for.
	maxServers, maxConnections = 1024, 1 << 19
)

// page is what is of interest of a server's answer.
type page struct {
	Server struct {
		ID string `json:"id"`
	} `json:"server"`
	Data struct {
		Total       int `json:"total"`
		Offset      int `json:"offset"`
		Connections []struct {
			CID  uint64 `json:"cid"`
			User string `json:"authorized_user"`
		} `json:"connections"`
	} `json:"data"`
}

// list implements connections. A server that does not answer is left out: its clients come to others, which ask.
func (e everywhere) list(ctx context.Context) (all []connection, err error) {
	for _, account := range []string{accountLog, access.Nodes} {
		for offset, more := 0, true; more && offset < maxConnections; offset += e.page {
			if more, err = e.add(ctx, account, offset, &all); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// add adds one page of every server, and says whether any has more.
func (e everywhere) add(ctx context.Context, account string, offset int, all *[]connection) (more bool, err error) {
	request, err := json.Marshal(server.ConnzOptions{Username: true, Account: account, Offset: offset, Limit: e.page})
	if err != nil {
		return false, fmt.Errorf("list the connections: %w", err)
	}
	inbox := e.nc.NewInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }()
		err = e.nc.PublishRequest(pingConnections, inbox, request)
	}
	if err != nil {
		return false, fmt.Errorf("list the connections: %w", err)
	}
	for range maxServers {
		quiet, cancel := context.WithTimeout(ctx, answersPause)
		m, err := sub.NextMsgWithContext(quiet)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return more, nil
		}
		var p page
		if err == nil {
			err = json.Unmarshal(m.Data, &p)
		}
		if err != nil {
			return false, fmt.Errorf("list the connections: %w", err)
		}
		for _, c := range p.Data.Connections {
			*all = append(*all, connection{server: p.Server.ID, id: c.CID, user: c.User})
		}
		more = more || p.Data.Offset+len(p.Data.Connections) < p.Data.Total && len(p.Data.Connections) > 0
	}
	return more, nil
}

// cut implements connections. A server that knows no such connection says so, and one that is not there has none.
func (e everywhere) cut(ctx context.Context, c connection) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	request, err := json.Marshal(server.KickClientReq{CID: c.id})
	if err == nil {
		_, err = e.nc.RequestWithContext(ctx, strings.Replace(kickAnywhere, "*", eventlog.Token(c.server), 1), request)
	}
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("end the connection of %s: %w", c.user, err)
	}
	return nil
}

// inProcess are the connections of the embedded server.
type inProcess struct{ nats *server.Server }

// list implements connections.
func (p inProcess) list(context.Context) ([]connection, error) {
	found, err := p.nats.Connz(&server.ConnzOptions{Username: true, Limit: maxConnections})
	if err != nil {
		return nil, fmt.Errorf("list the connections: %w", err)
	}
	all := make([]connection, 0, len(found.Conns))
	for _, c := range found.Conns {
		all = append(all, connection{id: c.Cid, user: c.AuthorizedUser})
	}
	return all, nil
}

// cut implements connections.
func (p inProcess) cut(_ context.Context, c connection) error {
	if err := p.nats.DisconnectClientByID(c.id); err != nil && p.nats.GetClient(c.id) != nil { // it went by itself
		return fmt.Errorf("end the connection of %s: %w", c.user, err)
	}
	return nil
}
