package console

import "testing"

// A journal of a console that had keys but no users: its keys belong to the built-in user, and what they did is that user's.
func TestKeysFromBeforeThereWereUsers(t *testing.T) {
	s := newState()
	for i, edit := range []string{
		`{"event":"api_key.create","author":"/users/0","at":"2026-01-02T03:04:05Z","last_id":2,"put":[{"table":"api_keys","id":"api_old","record":{"doc":{"_secret_sha256":"x"}}}]}`,
		`{"event":"label.create","author":"/orgs/1/api_keys/api_old","at":"2026-01-02T03:04:06Z","last_id":3,"put":[{"table":"labels","id":"3","record":{"doc":{"key":"app","value":"x"},"created_by":"/orgs/1/api_keys/api_old"}}]}`,
	} {
		if err := s.fold(uint64(i+1), []byte(edit)); err != nil {
			t.Fatal(err)
		}
	}
	if owner := s.get(tableKeys, "api_old").Owner; owner != builtinUser {
		t.Fatalf("the key belongs to %q", owner)
	}
	by, _ := s.renderEvent(s.events[1], "")["created_by"].(rendered)
	if user, _ := by["user"].(rendered); user["href"] != builtinAuthor {
		t.Fatalf("the edit is by %v", by)
	}
}
