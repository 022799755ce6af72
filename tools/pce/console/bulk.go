package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ringfence/ringfence/libs/pce"
)

// bulkItem is what became of one item of a bulk call.
type bulkItem struct {
	href string
	err  error
}

// bulkRoutes mounts the bulk calls of a kind. An item that is refused leaves the others alone.
func (c *Console) bulkRoutes(path string, k kind) {
	c.route(users, "PUT "+path+"/bulk_create", c.bulkOf(k, "create", "created", func(t *transaction, at place, doc document) bulkItem {
		id, err := at.add(t, doc.without([]string{hrefField}))
		if err != nil {
			return bulkItem{err: err}
		}
		return bulkItem{href: hrefOf(at.table, id, at.owner)}
	}))
	c.route(users, "PUT "+path+"/bulk_update", c.bulkOf(k, "update", "updated", func(t *transaction, at place, doc document) bulkItem {
		href, id, err := at.named(doc)
		if err == nil {
			err = at.change(t, id, doc)
		}
		return bulkItem{href, err}
	}))
	c.route(users, "PUT "+path+"/bulk_delete", c.bulkOf(k, "delete", "deleted", func(t *transaction, at place, doc document) bulkItem {
		href, id, err := at.named(doc)
		if err == nil {
			err = at.delete(t, id, false)
		}
		return bulkItem{href, err}
	}))
}

// hrefField keeps the href that a client gave with an item of a bulk call, until it is found.
const hrefField = privatePrefix + "href"

// named is the href that an item gives, and the id in it.
func (at place) named(doc document) (href, id string, err error) {
	href = doc.text(hrefField)
	delete(doc, hrefField)
	table, id, found := tableOf(toDraft(href))
	if !found || table != at.table {
		return href, "", invalid("href", "%q is not the href of one of %s", href, at.kind.table)
	}
	return href, id, nil
}

func (c *Console) bulkOf(k kind, verb, done string, one func(*transaction, place, document) bulkItem) handler {
	return func(r request) (response, error) {
		items, err := r.documents(k)
		if err != nil {
			return response{}, err
		}
		results := make([]any, len(items))
		err = c.store.write(r.Context(), r.who.href, k.event+".bulk_"+verb, func(t *transaction) error {
			at, err := k.locate(t.state, r)
			if err != nil {
				return err
			}
			if err := at.writable(); err != nil {
				return err
			}
			for i, doc := range items {
				if results[i], err = outcome(one(t, at, doc), done); err != nil {
					return err
				}
			}
			return nil
		})
		return ok(results), err
	}
}

// outcome is an item of a bulk call's answer; an error that is not a refusal is the whole call's.
func outcome(item bulkItem, done string) (any, error) {
	var refused *refusal
	switch {
	case item.err == nil:
		return map[string]any{"href": item.href, "status": done}, nil
	case !errors.As(item.err, &refused):
		return nil, item.err
	}
	result := map[string]any{"status": "validation_failure", "errors": refused.messages}
	if item.href != "" {
		result["href"] = item.href
	}
	for _, m := range refused.messages {
		result["token"], result["message"] = m.Token, m.Message
	}
	return result, nil
}

// documents reads a body of one document or a list of at most as many as a bulk call takes.
func (r request) documents(k kind) ([]document, error) {
	body, err := r.body()
	if err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		items = []json.RawMessage{body}
	} else if err := json.Unmarshal(body, &items); err != nil {
		return nil, invalid("the body", "want an array of JSON objects")
	}
	if len(items) > pce.MaxBulk {
		return nil, refuse(http.StatusNotAcceptable, "too_many_items", "the body: %d items, want at most %d", len(items), pce.MaxBulk)
	}
	docs := make([]document, len(items))
	for i, item := range items {
		if docs[i], err = decodeItem(item, k); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func decodeItem(item []byte, k kind) (document, error) {
	var given pce.Ref
	if err := json.Unmarshal(item, &given); err != nil {
		return nil, invalid("href", "want objects whose href is a string")
	}
	doc, err := decodeDocument(item)
	if err != nil {
		return nil, err
	}
	if doc = doc.without(k.reported); given.Href != "" {
		doc = doc.set(hrefField, given.Href)
	}
	return doc, nil
}
