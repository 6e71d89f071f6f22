// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"net/http"
	"strings"
)

// soapReads are the methods that leave the inventory as it is, sessions, views and collectors aside. A method that is not
// here counts as a write: a new one must not slip through the tests of check mode.
var soapReads = set(
	// sessions
	"RetrieveServiceContent", "RetrieveInternalContent", "Login", "LoginByToken", "LoginExtensionByCertificate", "Logout",
	"SessionIsActive", "CloneSession", "AcquireCloneTicket", "CurrentTime", "Fetch",
	// property collector
	"RetrieveProperties", "RetrievePropertiesEx", "ContinueRetrievePropertiesEx", "CancelRetrievePropertiesEx",
	"CreateFilter", "DestroyPropertyFilter", "CreatePropertyCollector", "DestroyPropertyCollector", "WaitForUpdates",
	"WaitForUpdatesEx", "CheckForUpdates", "CancelWaitForUpdates",
	// views
	"CreateContainerView", "CreateListView", "CreateListViewFromView", "CreateInventoryView", "ModifyListView",
	"ResetListView", "ResetListViewFromView", "OpenInventoryViewFolder", "CloseInventoryViewFolder", "DestroyView",
	// search
	"FindByUuid", "FindAllByUuid", "FindByInventoryPath", "FindByDnsName", "FindAllByDnsName", "FindByIp", "FindAllByIp",
	"FindByDatastorePath", "FindChild", "SearchDatastore_Task", "SearchDatastoreSubFolders_Task",
	// events and tasks
	"QueryEvents", "CreateCollectorForEvents", "CreateCollectorForTasks", "ReadNextEvents", "ReadPreviousEvents",
	"ReadNextTasks", "ReadPreviousTasks", "ResetCollector", "RewindCollector", "SetCollectorPageSize", "DestroyCollector",
	"RetrieveArgumentDescription",
	// questions
	"QueryOptions", "QueryConfigOption", "QueryConfigOptionEx", "QueryConfigOptionDescriptor", "QueryConfigTarget",
	"QueryTargetCapabilities", "QueryPerf", "QueryPerfComposite", "QueryPerfCounter", "QueryPerfCounterByLevel",
	"QueryPerfProviderSummary", "QueryAvailablePerfMetric", "FetchDVPorts", "FetchDVPortKeys", "QueryDvsByUuid",
	"QueryDvsCompatibleHostSpec", "QueryDvsConfigTarget", "RetrieveEntityPermissions", "RetrieveAllPermissions",
	"RetrieveRolePermissions", "HasPrivilegeOnEntity", "HasPrivilegeOnEntities", "HasUserPrivilegeOnEntities",
	"FetchUserPrivilegeOnEntities", "RetrieveUserGroups", "CheckClone_Task", "CheckRelocate_Task", "CheckMigrate_Task",
	"CheckVmConfig_Task", "CheckCompatibility_Task", "CheckPowerOn_Task", "PlaceVm", "RecommendDatastores",
	"RecommendHostsForVm", "QueryVirtualDiskUuid", "QueryVirtualDiskInfo_Task", "FindExtension", "GetPublicKey",
	"GetCustomizationSpec", "DoesCustomizationSpecExist", "QueryAssignedLicenses", "DecodeLicense", "QueryIpPools",
	"QueryHostConnectionInfo", "QueryConnectionInfo", "FindRulesForVm", "RetrieveHostSpecification",
	"PbmRetrieveServiceContent", "PbmQueryProfile", "PbmRetrieveContent", "PbmQueryAssociatedProfile",
	"PbmQueryAssociatedProfiles", "PbmCheckCompatibility", "PbmQueryMatchingHub",
	"FetchVmGroupForMultiwriterDisks", "QueryTpmAttestationReport", "ListKeys", "ListKmipServers",
)

func set(names ...string) map[string]bool {
	members := make(map[string]bool, len(names))
	for _, name := range names {
		members[name] = true
	}
	return members
}

// restWrites says whether a REST call changes more than its own session.
func restWrites(method, path, action string) bool {
	switch {
	case method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions:
		return false
	case path == "/api/session" || path == sessionPath:
		return false
	}
	reading := action == "find" || action == "filter" || action == "get" || strings.HasPrefix(action, "list-")
	return method != http.MethodPost || !reading
}
