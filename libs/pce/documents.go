package pce

import (
	"context"
	"encoding/json"
	"net/http"
)

// Document is an object with all the fields that the console gave, for those who must not lose one that this package has no name for.
type Document map[string]json.RawMessage

// Text is the value of a field that is a string, or "" where it is something else.
func (d Document) Text(field string) string {
	var s string
	if json.Unmarshal(d[field], &s) != nil {
		return ""
	}
	return s
}

// Href is the object's own.
func (d Document) Href() string { return d.Text("href") }

// Documents lists the collection at path, below /api/v2, whole.
func (c *Client) Documents(ctx context.Context, path string) ([]Document, error) {
	return list[Document](ctx, c, path)
}

// Document reads the object at href.
func (c *Client) Document(ctx context.Context, href string) (Document, error) {
	return get[Document](ctx, c, href)
}

// Create makes an object of the collection at path, and gives it as the console does.
func (c *Client) Create(ctx context.Context, path string, fields any) (Document, error) {
	var out Document
	return out, c.call(ctx, http.MethodPost, path, fields, &out)
}
