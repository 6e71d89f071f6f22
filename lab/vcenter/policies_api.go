// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"github.com/vmware/govmomi/pbm/methods"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The managed objects of the policy service. Policies come from the inventory: it makes and changes none.

type policyService struct {
	types.ManagedObjectReference
	content pbmtypes.PbmServiceInstanceContent
}

type profileManager struct {
	types.ManagedObjectReference
	lab *lab
}

type placementSolver struct {
	types.ManagedObjectReference
	lab *lab
}

// routePolicies sees every call of the policy service. Without a session only its content can be read.
func (l *lab) routePolicies(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if method.Name == "PbmRetrieveServiceContent" {
		return nil, nil
	}
	if fault := gate(ctx.Session != nil, method.This, method.Name); fault != nil {
		return nil, fault
	}
	if !l.holds(ctx.Session.UserName, "StorageProfile.View", vpx.ServiceContent.RootFolder) {
		return nil, &types.SecurityError{}
	}
	return nil, nil
}

func (s *policyService) PbmRetrieveServiceContent(*pbmtypes.PbmRetrieveServiceContent) soap.HasFault {
	return &methods.PbmRetrieveServiceContentBody{Res: &pbmtypes.PbmRetrieveServiceContentResponse{Returnval: s.content}}
}

func (m *profileManager) PbmQueryProfile(r *pbmtypes.PbmQueryProfile) soap.HasFault {
	answer := &pbmtypes.PbmQueryProfileResponse{}
	for _, policy := range m.lab.inventory.StoragePolicies {
		profile := policy.profile()
		if r.ResourceType == profile.ResourceType && (r.ProfileCategory == "" || r.ProfileCategory == profile.ProfileCategory) {
			answer.Returnval = append(answer.Returnval, profile.ProfileId)
		}
	}
	return &methods.PbmQueryProfileBody{Res: answer}
}

func (m *profileManager) PbmRetrieveContent(r *pbmtypes.PbmRetrieveContent) soap.HasFault {
	answer := &pbmtypes.PbmRetrieveContentResponse{}
	for _, id := range r.ProfileIds {
		policy := m.lab.policy(id.UniqueId)
		if policy == nil {
			return &methods.PbmRetrieveContentBody{Fault_: badParameter("profileIds").soap()}
		}
		answer.Returnval = append(answer.Returnval, policy.profile())
	}
	if len(r.ProfileIds) == 0 {
		return &methods.PbmRetrieveContentBody{Fault_: badParameter("profileIds").soap()}
	}
	return &methods.PbmRetrieveContentBody{Res: answer}
}

func badParameter(property string) *failure {
	return invalidArgument(property, "A specified parameter was not correct: "+property)
}

func (m *profileManager) PbmQueryAssociatedProfile(r *pbmtypes.PbmQueryAssociatedProfile) soap.HasFault {
	found, ok := m.lab.associated(r.Entity)
	if !ok {
		return &methods.PbmQueryAssociatedProfileBody{Fault_: badParameter("entity").soap()}
	}
	return &methods.PbmQueryAssociatedProfileBody{Res: &pbmtypes.PbmQueryAssociatedProfileResponse{Returnval: found}}
}

// PbmQueryAssociatedProfiles tells a fault for the objects that it concerns, beside the others' answers.
func (m *profileManager) PbmQueryAssociatedProfiles(r *pbmtypes.PbmQueryAssociatedProfiles) soap.HasFault {
	answer := &pbmtypes.PbmQueryAssociatedProfilesResponse{}
	for _, entity := range r.Entities {
		found, ok := m.lab.associated(entity)
		row := pbmtypes.PbmQueryProfileResult{Object: entity, ProfileId: found}
		if !ok {
			failed := badParameter("entities")
			row.Fault = &types.LocalizedMethodFault{Fault: failed.fault, LocalizedMessage: failed.message}
		}
		answer.Returnval = append(answer.Returnval, row)
	}
	return &methods.PbmQueryAssociatedProfilesBody{Res: answer}
}

func (s *placementSolver) PbmCheckCompatibility(r *pbmtypes.PbmCheckCompatibility) soap.HasFault {
	policy := s.lab.policy(r.Profile.UniqueId)
	if policy == nil {
		return &methods.PbmCheckCompatibilityBody{Fault_: badParameter("profile").soap()}
	}
	answer := &pbmtypes.PbmCheckCompatibilityResponse{}
	for _, hub := range s.lab.hubs(r.HubsToSearch) {
		row := pbmtypes.PbmPlacementCompatibilityResult{Hub: hub}
		if !s.lab.satisfies(policy, hub) {
			row.Error = []types.LocalizedMethodFault{{
				Fault:            &pbmtypes.PbmCompatibilityCheckFault{Hub: hub},
				LocalizedMessage: "The datastore does not satisfy the storage policy '" + policy.Name + "'.",
			}}
		}
		answer.Returnval = append(answer.Returnval, row)
	}
	return &methods.PbmCheckCompatibilityBody{Res: answer}
}

func (s *placementSolver) PbmQueryMatchingHub(r *pbmtypes.PbmQueryMatchingHub) soap.HasFault {
	policy := s.lab.policy(r.Profile.UniqueId)
	if policy == nil {
		return &methods.PbmQueryMatchingHubBody{Fault_: badParameter("profile").soap()}
	}
	answer := &pbmtypes.PbmQueryMatchingHubResponse{}
	for _, hub := range s.lab.hubs(r.HubsToSearch) {
		if s.lab.satisfies(policy, hub) {
			answer.Returnval = append(answer.Returnval, hub)
		}
	}
	return &methods.PbmQueryMatchingHubBody{Res: answer}
}
