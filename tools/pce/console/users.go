package console

import (
	"context"
	"net/http"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// people are the users of the console. All of them may do everything.
var people = kind{table: tableUsers, event: "user", substring: []string{"username", "full_name"}, exact: []string{"type"}, check: checkUser}

var apiKeys = kind{table: tableKeys, event: "api_key", owner: "user", substring: []string{"name"}, check: checkKey}

// passwordField holds the bcrypt hash of a password.
const passwordField = "_password_bcrypt"

func (c *Console) userRoutes() {
	c.route(anyone, "POST /login_users/authenticate", c.authenticateUser)
	c.route(anyone, "GET /users/login", c.signIn)
	c.route(users, "PUT /users/{user}/logout", c.signOut)
	c.route(users, "GET /orgs/{org}/users", c.list(people))
	c.route(users, "GET /users", c.list(people))
	c.route(users, "GET /users/{id}", c.read(people))
	c.route(users, "POST /users", c.create(people))
	c.route(users, "PUT /users/{id}", c.updateUser)
	c.route(users, "DELETE /users/{id}", c.removeUser)

	const keys = "/users/{user}/api_keys"
	c.route(users, "GET "+keys, c.list(apiKeys))
	c.route(users, "GET "+keys+"/{id}", c.read(apiKeys))
	c.route(users, "POST "+keys, c.createKey)
	c.route(users, "PUT "+keys+"/{id}", c.update(apiKeys))
	c.route(users, "DELETE "+keys+"/{id}", c.remove(apiKeys))
}

// checkUser turns a password into its hash.
func checkUser(v *validation, id string, doc, before document) (document, error) {
	var u struct {
		Username string `json:"username"`
		FullName string `json:"full_name"`
		Type     string `json:"type"`
		TimeZone string `json:"time_zone"`
		Password string `json:"password"`
	}
	if err := doc.into(&u); err != nil {
		return nil, err
	}
	switch {
	case strings.TrimSpace(u.Username) == "" || strings.ContainsAny(u.Username, ": "):
		return nil, invalid("username", "must not be empty and must hold neither colons nor spaces")
	case before != nil && before.text("username") != u.Username:
		return nil, invalid("username", "cannot be changed")
	case u.Type != "" && u.Type != "local":
		return nil, invalid("type", "%q: this console has local users only", u.Type)
	}
	doc = doc.set("type", "local")
	if doc["password"] != nil {
		hash, err := hashPassword(u.Password)
		if err != nil {
			return nil, err
		}
		doc = doc.set(passwordField, hash)
		delete(doc, "password")
	}
	return doc, v.taken(id, doc, "username")
}

func hashPassword(password string) (string, error) {
	if len(password) < 8 || len(password) > 72 { // bcrypt takes no more
		return "", invalid("password", "want 8 to 72 bytes")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

// nobody's password is compared where a name is unknown, so that the time tells nothing.
const nobody = "$2a$10$8BsqeYbefSwn6y1c8QkG1uCe7vE8cUoSAb.upcXlv4pv/eKl0Ef92"

// passwordOf gives the id of the user of this name, if the password is theirs.
func (c *Console) passwordOf(name, password string) (id string, right bool) {
	hash := nobody
	c.store.view(func(s *state) {
		for user, r := range s.tables[tableUsers] {
			if r.Doc.text("username") == name && r.Doc.text(passwordField) != "" {
				id, hash = user, r.Doc.text(passwordField)
			}
		}
	})
	c.sessions.hashing.Lock()
	defer c.sessions.hashing.Unlock()
	right = bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
	return id, right && id != ""
}

// EnsureUser makes a user who can sign in with this password, or sets the password anew.
func (c *Console) EnsureUser(ctx context.Context, name, password string) error {
	return c.store.write(ctx, builtinAuthor, "user.create", func(t *transaction) error {
		at := place{kind: people, table: tableUsers}
		fields := document{}.set("password", password)
		for _, id := range t.state.ids(tableUsers) {
			if t.state.get(tableUsers, id).Doc.text("username") == name {
				return at.change(t, id, fields)
			}
		}
		_, err := at.add(t, fields.set("username", name).set("full_name", name))
		return err
	})
}

// updateUser changes a user. Another password ends the sessions that the one before began.
func (c *Console) updateUser(r request) (response, error) {
	id := r.PathValue("id")
	before := c.passwordHash(id)
	answer, err := c.update(people)(r)
	if err == nil && c.passwordHash(id) != before {
		c.sessions.end(id, "")
	}
	return answer, err
}

func (c *Console) passwordHash(id string) (hash string) {
	c.store.view(func(s *state) {
		if r := s.get(tableUsers, id); r != nil {
			hash = r.Doc.text(passwordField)
		}
	})
	return hash
}

// removeUser removes a user with their keys, and ends their sessions.
func (c *Console) removeUser(r request) (response, error) {
	id := r.PathValue("id")
	if id == builtinUser {
		return response{}, refuse(http.StatusNotAcceptable, "builtin_user", "%s is built in and cannot be deleted", builtinAuthor)
	}
	answer, err := c.remove(people)(r)
	if err == nil {
		c.sessions.end(id, "")
	}
	return answer, err
}

func checkKey(v *validation, id string, doc, _ document) (document, error) {
	var k struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	if err := doc.into(&k); err != nil {
		return nil, err
	}
	if strings.TrimSpace(k.Name) == "" {
		return nil, invalid("name", "must not be empty")
	}
	return doc, v.taken(id, doc, "name")
}

// createKey makes an API key of the user; like every secret its own is given once and kept as a hash.
func (c *Console) createKey(r request) (response, error) {
	doc, err := r.document()
	if err != nil {
		return response{}, err
	}
	id, secret := "api_"+secretOf()[:18], secretOf()
	var at place
	err = c.store.write(r.Context(), r.who.href, "api_key.create", func(t *transaction) error {
		if at, err = apiKeys.locate(t.state, r); err != nil {
			return err
		}
		checked, err := checkKey(&validation{state: t.state, table: at.table, owner: at.owner}, id, doc, nil)
		if err != nil {
			return err
		}
		t.create(at.table, id, at.owner, checked.set(hashField, hashOf(secret)))
		return nil
	})
	if err != nil {
		return response{}, err
	}
	answer, err := c.created(at, id)
	if out, isOne := answer.body.(rendered); isOne {
		out["secret"] = secret
	}
	return answer, err
}

func decorateKey(out rendered, id string) { out["key_id"], out["auth_username"] = id, id }
