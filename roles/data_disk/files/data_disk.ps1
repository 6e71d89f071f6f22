# SPDX-License-Identifier: GPL-3.0-or-later
# Not run on a real Windows yet. The disk's serial number is the UUID that vCenter shows to the guest.
[CmdletBinding(SupportsShouldProcess)]
param([string]$DiskUuid, [string]$FormatOver, [string]$Label, [string]$Letter, [string]$Share, [string]$HostFolder,
      [string]$UserFolder)
$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
function Plain([string]$text) { ($text -replace '[^0-9A-Fa-f]', '').ToLower() }

$data = $UserFolder
if ($DiskUuid) {
    $data = "${Letter}:"
    $disk = Get-Disk | Where-Object { (Plain $_.SerialNumber) -eq (Plain $DiskUuid) -or
        (Plain $_.UniqueId) -eq (Plain $DiskUuid) } | Select-Object -First 1
    if (-not $disk) { throw "data disk ${DiskUuid}: expected a disk with this serial number; found none. Next: provision the VM" }
    $parts = @(Get-Partition -DiskNumber $disk.Number -ErrorAction SilentlyContinue | Where-Object Type -ne 'Reserved')
    $ours = $parts | Where-Object { (Get-Volume -Partition $_ -ErrorAction SilentlyContinue).FileSystemLabel -eq $Label }
    # A volume without a file system on the only partition is what a run that was cut off has left.
    $begun = $parts.Count -eq 1 -and $parts[0].GptType -and -not (Get-Volume -Partition $parts[0]).FileSystem
    if ($parts -and -not $ours -and -not $begun -and (Plain $FormatOver) -ne (Plain $DiskUuid)) {
        throw "data disk ${DiskUuid}: expected an empty disk or the volume $Label; found $($parts.Count) partition(s). " +
            "Next: look at what they hold; data_disk_format_over: `"$DiskUuid`" lets this disk be formatted"
    }
    if (-not $ours) {
        $Ansible.Changed = $true
        if (-not $PSCmdlet.ShouldProcess($DiskUuid, 'format')) { return }
        if ($disk.IsOffline) { Set-Disk -Number $disk.Number -IsOffline $false }
        if ($disk.IsReadOnly) { Set-Disk -Number $disk.Number -IsReadOnly $false }
        if ($parts) { Clear-Disk -Number $disk.Number -RemoveData -RemoveOEM -Confirm:$false }
        if ((Get-Disk -Number $disk.Number).PartitionStyle -eq 'RAW') { Initialize-Disk -Number $disk.Number -PartitionStyle GPT }
        New-Partition -DiskNumber $disk.Number -UseMaximumSize -DriveLetter $Letter |
            Format-Volume -FileSystem NTFS -NewFileSystemLabel $Label -Confirm:$false | Out-Null
    }
}

function Folder([string]$path) {
    if (Test-Path -LiteralPath $path) { return }
    $Ansible.Changed = $true
    if ($PSCmdlet.ShouldProcess($path, 'make')) { New-Item -ItemType Directory -Force -Path $path | Out-Null }
}

function Link([string]$path, [string]$target) {
    $item = Get-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
    if ($item.LinkType -and @($item.Target) -replace '^UNC', '\' -contains $target) { return }
    $Ansible.Changed = $true
    if (-not $PSCmdlet.ShouldProcess($path, "link to $target")) { return }
    if ($item.LinkType) { $item.Delete() }
    elseif ($item) {
        # robocopy overwrites nothing that is newer; its exit status is an error from 8 on.
        & robocopy $path $target /E /MOVE /XC /XN /XO /R:1 /W:1 | Out-Null
        if ($LASTEXITCODE -ge 8) { throw "${path}: expected room in $target; found robocopy's $LASTEXITCODE. Next: make room there" }
        if (Test-Path -LiteralPath $path) { Rename-Item -LiteralPath $path -NewName ((Split-Path $path -Leaf) + '.before-link') }
    }
    New-Item -ItemType SymbolicLink -Path $path -Target $target | Out-Null
}

foreach ($name in 'cache', 'tmp', 'logs') { Folder "$data\$name" }
Folder $UserFolder
if ($DiskUuid) { Link "$UserFolder\logs" "$data\logs" }
if ($Share) {
    if (-not (Test-Path -LiteralPath $Share)) { throw "share ${Share}: expected it; found nothing. Next: check server, name and rights" }
    Folder "$Share\$HostFolder"
    Link "$UserFolder\output" "$Share\$HostFolder"
} else { Folder "$UserFolder\output" }
