# Run by ansible.windows.win_powershell: clock, extra authorities, power plan, Windows Update. Changes what differs and nothing else.
[CmdletBinding()]
param([bool]$KeepTime, [string[]]$TimeServers = @(), [string[]]$Authorities = @(), [bool]$Upgrades)

$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
$mark = 'nano-banana'
$done = [System.Collections.Generic.List[string]]@()

function Invoke-Change([string]$What, [scriptblock]$Change) {
    $done.Add($What)
    $Ansible.Changed = $true
    if (-not $Ansible.CheckMode) { & $Change }
}

function Invoke-Program([string]$Name, [string[]]$Arguments) {
    $words = & $Name @Arguments 2>&1
    if ($LASTEXITCODE -ne 0) { throw "$Name $Arguments : expected exit status 0; found $LASTEXITCODE, $words" }
    $words
}

if ($KeepTime) {
    $parameters = 'HKLM:\SYSTEM\CurrentControlSet\Services\W32Time\Parameters'
    $peers = ($TimeServers | ForEach-Object { "$_,0x8" }) -join ' '
    if ($peers -and (Get-ItemProperty $parameters).NtpServer -ne $peers) {
        Invoke-Change 'time servers' {
            # The service must run to be told; the registry shows the servers afterwards.
            Start-Service W32Time
            Invoke-Program w32tm.exe @('/config', "/manualpeerlist:$peers", '/syncfromflags:manual', '/update') | Out-Null
        }
    }
    $service = Get-Service W32Time
    if ($service.StartType -ne 'Automatic' -or $service.Status -ne 'Running') {
        Invoke-Change 'time service' { Set-Service W32Time -StartupType Automatic; Start-Service W32Time }
    }
}

# The friendly name tells which authorities are ours, so that those taken off the list can go.
$wanted = @{}
foreach ($pem in $Authorities) {
    $body = $pem -replace '-----(BEGIN|END) CERTIFICATE-----', '' -replace '\s', ''
    $certificate = [System.Security.Cryptography.X509Certificates.X509Certificate2]::new([Convert]::FromBase64String($body))
    $wanted[$certificate.Thumbprint] = $certificate
}
$store = [System.Security.Cryptography.X509Certificates.X509Store]::new('Root', 'LocalMachine')
$store.Open('ReadWrite')
try {
    $there = @($store.Certificates | ForEach-Object { $_.Thumbprint })
    foreach ($certificate in $wanted.Values) {
        if ($certificate.Thumbprint -notin $there) {
            Invoke-Change "authority $($certificate.Thumbprint)" { $certificate.FriendlyName = $mark; $store.Add($certificate) }
        }
    }
    foreach ($certificate in @($store.Certificates | Where-Object { $_.FriendlyName -eq $mark })) {
        if (-not $wanted.ContainsKey($certificate.Thumbprint)) {
            Invoke-Change "no authority $($certificate.Thumbprint)" { $store.Remove($certificate) }
        }
    }
}
finally { $store.Close() }

# High performance, and never asleep: a test that waits for a disk or a core to wake measures that.
$plan = '8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c'
if ("$(Invoke-Program powercfg.exe @('/getactivescheme'))" -notmatch $plan) {
    Invoke-Change 'power plan' { Invoke-Program powercfg.exe @('/setactive', $plan) | Out-Null }
}

$policy = 'HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU'
$off = [int](-not $Upgrades)
$found = (Get-ItemProperty $policy -Name NoAutoUpdate -ErrorAction SilentlyContinue).NoAutoUpdate
if ([int]$found -ne $off) {
    Invoke-Change 'updates' {
        if (-not (Test-Path $policy)) { New-Item $policy -Force | Out-Null }
        Set-ItemProperty $policy -Name NoAutoUpdate -Value $off -Type DWord
    }
}
$Ansible.Result = $done
