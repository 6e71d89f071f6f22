// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// fetchResponse is the answer to Fetch, by which pyVmomi reads a single property. It is not in the published API, so
// govmomi keeps its types to itself.
type fetchResponse struct {
	Returnval types.AnyType `xml:"returnval,omitempty,typeattr"`
}

type fetchBody struct {
	Res    *fetchResponse `xml:"FetchResponse,omitempty"`
	Fault_ *soap.Fault    `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"`
}

func (b *fetchBody) Fault() *soap.Fault { return b.Fault_ }

// fetched gives object and property of a Fetch request, whose type cannot be named here.
func fetched(request any) (this types.ManagedObjectReference, property string) {
	value := reflect.Indirect(reflect.ValueOf(request))
	this, _ = value.FieldByName("This").Interface().(types.ManagedObjectReference)
	return this, value.FieldByName("Prop").String()
}

var propertyCollector = vpx.ServiceContent.PropertyCollector

// Fetch reads one property. The simulator answers for an unset one with what it would answer RetrieveProperties, which no
// client understands; a vCenter answers with nothing.
func (d *desk) Fetch(ctx *simulator.Context, request any) soap.HasFault {
	this, property := fetched(request)
	collector, ok := d.registry.Get(propertyCollector).(*simulator.PropertyCollector)
	if !ok {
		return &fetchBody{Fault_: notFound(propertyCollector).soap()}
	}
	answer := collector.RetrievePropertiesEx(ctx, &types.RetrievePropertiesEx{SpecSet: []types.PropertyFilterSpec{{
		PropSet:   []types.PropertySpec{{Type: this.Type, PathSet: []string{property}}},
		ObjectSet: []types.ObjectSpec{{Obj: this}},
	}}})
	if fault := answer.Fault(); fault != nil {
		return &fetchBody{Fault_: fault}
	}
	result := answer.(*methods.RetrievePropertiesExBody).Res.Returnval
	if result == nil || len(result.Objects) == 0 {
		return &fetchBody{Fault_: notFound(this).soap()}
	}
	object := result.Objects[0]
	switch {
	case len(object.PropSet) > 0:
		return &fetchBody{Res: &fetchResponse{object.PropSet[0].Val}}
	case len(object.MissingSet) > 0:
		missing := object.MissingSet[0].Fault
		return &fetchBody{Fault_: simulator.Fault(missing.LocalizedMessage, missing.Fault)}
	}
	return &fetchBody{Res: &fetchResponse{}}
}
