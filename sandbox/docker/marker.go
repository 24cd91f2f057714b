package docker

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/volume"
)

// A box has the workspace that the last of its markers names. A marker is an empty
// volume: making one is atomic, and what its labels say never changes. The first
// is named for the box. A workspace that takes the place of another has a marker
// that is named for that other one: as soon as it is there the box has the new
// workspace, for every worker, and until then the old one. A chain that does not
// begin with the marker of a box is of a box that was closed, and is nobody's.

// marker is one of them.
type marker struct {
	place
	name string // its own
	key  string // of what brought the files; empty for a workspace that began empty
}

// chain gives the markers of a box, the first one first; none without a workspace.
func (r *Runner) chain(ctx context.Context, name string) (all []marker, err error) {
	for at := r.named(kindMarker, name); ; at = r.markerAfter(all[len(all)-1].volume) {
		m, ok, err := r.markerAt(ctx, at)
		if err != nil || !ok {
			return all, err
		}
		all = append(all, m)
	}
}

// markerAfter names the marker of the workspace that took the place of a volume.
func (r *Runner) markerAfter(volume string) string { return r.named(kindMarker+"-after", volume) }

func (r *Runner) markerAt(ctx context.Context, at string) (m marker, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.EngineTimeout)
	defer cancel()
	v, err := r.engine.VolumeInspect(ctx, at)
	switch {
	case errdefs.IsNotFound(err):
		return marker{}, false, nil
	case err != nil:
		return marker{}, false, unreachable("find workspace", err)
	}
	p, _, err := r.placeOf(v.Labels)
	return marker{place: p, name: at, key: v.Labels[labelKey]}, err == nil, err
}

// workspaceOf says where the files of a box are; ok says that it has any.
func (r *Runner) workspaceOf(ctx context.Context, name string) (p place, ok bool, err error) {
	chain, err := r.chain(ctx, name)
	if err != nil || len(chain) == 0 {
		return place{}, false, err
	}
	return chain[len(chain)-1].place, true, nil
}

// placeOf reads the labels of a marker.
func (r *Runner) placeOf(labels map[string]string) (place, bool, error) {
	uid, err := strconv.ParseUint(labels[labelUID], 10, 32)
	if err != nil || labels[labelVolume] == "" || labels[labelOwner] != r.config.Owner {
		return place{}, false, fmt.Errorf("the marker of a box has labels %v", labels)
	}
	return place{name: randomName(), volume: labels[labelVolume], uid: uint32(uid), created: time.Now()}, true, nil
}

// claim makes the session's workspace that of a box, unless another worker was
// faster; then it says where that one's is.
func (r *Runner) claim(ctx context.Context, s *session, name string) (other place, lost bool, err error) {
	return r.mark(ctx, r.named(kindMarker, name), s.p, map[string]string{labelBox: name})
}

// mark makes a marker of a workspace, unless there is one of that name: then it
// says what that one names.
func (r *Runner) mark(ctx context.Context, at string, p place, more map[string]string) (other place, lost bool, err error) {
	labels := map[string]string{labelKind: kindMarker, labelVolume: p.volume, labelUID: fmt.Sprint(p.uid)}
	maps.Copy(labels, more)
	got, err := r.volume(ctx, at, labels)
	if err != nil || got[labelVolume] == p.volume {
		return place{}, false, err
	}
	other, _, err = r.placeOf(got)
	return other, true, err
}

// lead finds the volumes that boxes have, and the markers that lead to them.
func lead(volumes []*volume.Volume) (workspaces, markers map[string]bool) {
	after := map[string]*volume.Volume{}
	for _, v := range volumes {
		if v.Labels[labelKind] == kindMarker && v.Labels[labelPrevious] != "" {
			after[v.Labels[labelPrevious]] = v
		}
	}
	workspaces, markers = map[string]bool{}, map[string]bool{}
	for _, v := range volumes {
		if v.Labels[labelKind] != kindMarker || v.Labels[labelPrevious] != "" {
			continue
		}
		for next := v; next != nil && !markers[next.Name]; next = after[v.Labels[labelVolume]] {
			v = next
			markers[v.Name] = true
		}
		workspaces[v.Labels[labelVolume]] = true
	}
	return workspaces, markers
}
