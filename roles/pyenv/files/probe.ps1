# SPDX-License-Identifier: GPL-3.0-or-later
# Which Pythons a Windows guest has: the environment's version, whether conda is whole, and what must not be there.
param([string]$Environment, [string]$CondaRoot)

$strays = @()
if (Get-Command wsl.exe -ErrorAction SilentlyContinue) {
    # wsl.exe writes UTF-16; without a distribution it fails or only prints how to install one.
    $names = (& wsl.exe --list --quiet 2>$null) -replace "`0", '' | Where-Object { $_.Trim() }
    if ($LASTEXITCODE -eq 0 -and $names) { $strays += $names | ForEach-Object { "WSL distribution $($_.Trim())" } }
}
$found = (& where.exe python python3 2>$null) | Where-Object { $_ }
$strays += @($found | Where-Object { $_ -like '*\WindowsApps\python*.exe' -or $_ -like '\\wsl$\*' -or $_ -like '\\wsl.localhost\*' })

$version = ''
$python = Join-Path $Environment 'python.exe'
if ((Test-Path $python) -and -not (Test-Path "$Environment.unfinished")) {
    $version = & $python -I -c 'import ssl, pip, sys; print(*sys.version_info[:3], sep=chr(46))' 2>$null
    if ($LASTEXITCODE -ne 0) { $version = '' }
}
$conda = (Test-Path (Join-Path $CondaRoot 'Scripts\conda.exe')) -and -not (Test-Path "$CondaRoot.unfinished")
$Ansible.Changed = $false
@{ strays = @($strays); version = "$version"; conda = $conda }
