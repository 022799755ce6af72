package console

import (
	"errors"
	"reflect"

	"github.com/google/uuid"

	"github.com/ringfence/ringfence/libs/pce"
)

// decodeBulk reads a list of at most MaxBulk items into out, a pointer to a slice.
func (r request) decodeBulk(out any) error {
	if err := r.decode(out); err != nil {
		return err
	}
	return withinBulk("the body", reflect.ValueOf(out).Elem().Len())
}

func withinBulk(field string, items int) error {
	if items > pce.MaxBulk {
		return invalid(field, "%d items, want at most %d", items, pce.MaxBulk)
	}
	return nil
}

// refusedItem is the result of an item that is not accepted; the others are.
func refusedItem(href string, err error) pce.BulkResult {
	result := pce.BulkResult{Href: href, Status: "validation_failure", Token: "input_validation_error", Message: err.Error()}
	var refused *refusal
	if errors.As(err, &refused) && len(refused.messages) > 0 {
		result.Token, result.Message = refused.messages[0].Token, refused.messages[0].Message
	}
	return result
}

// uuidFrom gives the same UUID for the same name.
func uuidFrom(name string) string { return uuid.NewSHA1(eventSpace, []byte(name)).String() }
