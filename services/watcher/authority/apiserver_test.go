package authority

import (
	"errors"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// apiServer stores what several clients write, and refuses as the real one does what is written over something newer than was read;
// client-go's own clientset for tests does not.
type apiServer struct {
	mu      sync.Mutex
	tracker clienttesting.ObjectTracker
	version int
}

func newAPIServer() *apiServer { return &apiServer{tracker: fake.NewClientset().Tracker()} }

func (s *apiServer) client() *fake.Clientset {
	c := fake.NewClientset()
	c.PrependReactor("*", "*", s.react)
	return c
}

func (s *apiServer) react(action clienttesting.Action) (bool, runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if write, is := action.(clienttesting.CreateAction); is { // an update, too, has an object
		object := write.GetObject().(metav1.Object)
		if action.GetVerb() == "update" {
			stored, err := s.tracker.Get(action.GetResource(), action.GetNamespace(), object.GetName())
			if err != nil {
				return true, nil, err
			}
			if read := object.GetResourceVersion(); read != "" && read != stored.(metav1.Object).GetResourceVersion() {
				return true, nil, apierrors.NewConflict(action.GetResource().GroupResource(), object.GetName(), errors.New("the object has been modified"))
			}
		}
		s.version++
		object.SetResourceVersion(strconv.Itoa(s.version))
	}
	return clienttesting.ObjectReaction(s.tracker)(action)
}
