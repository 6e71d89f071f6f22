# SPDX-License-Identifier: GPL-3.0-or-later
# Conda by its own installer, and the environment. The marks tell the next run of what an interruption left half made.
param([string]$Installer, [string]$Sha256, [string]$CondaRoot, [string]$Environment, [string]$Version, [string]$Channel)

$conda = Join-Path $CondaRoot 'Scripts\conda.exe'
if ((Test-Path "$CondaRoot.unfinished") -or -not (Test-Path $conda)) {
    $found = (Get-FileHash -Algorithm SHA256 $Installer).Hash
    if ($found -ne $Sha256) {
        Remove-Item $Installer
        throw "${Installer}: expected SHA-256 $Sha256; found $found. Next: correct pyenv_conda_installer or pyenv_conda_sha256"
    }
    New-Item -ItemType File -Force "$CondaRoot.unfinished" | Out-Null
    if (Test-Path $CondaRoot) { Remove-Item -Recurse -Force $CondaRoot }
    # /D comes last and takes no quotes.
    $words = @('/S', '/InstallationType=JustMe', '/RegisterPython=0', '/AddToPath=0', "/D=$CondaRoot")
    $done = Start-Process -Wait -PassThru -FilePath $Installer -ArgumentList $words
    if ($done.ExitCode -ne 0 -or -not (Test-Path $conda)) {
        throw "${Installer}: expected $conda; found exit status $($done.ExitCode). Next: run the installer by hand on the guest"
    }
    Remove-Item "$CondaRoot.unfinished", $Installer
}
New-Item -ItemType File -Force "$Environment.unfinished" | Out-Null
if (Test-Path $Environment) { Remove-Item -Recurse -Force $Environment }
$arguments = @('create', '--yes', '--quiet', '--prefix', $Environment, "python=$Version", 'pip')
if ($Channel) { $arguments += @('--override-channels', '--channel', $Channel) }
$output = & cmd.exe /c "`"$conda`" $($arguments -join ' ') 2>&1"
if ($LASTEXITCODE -ne 0) {
    throw "conda create: expected success; found exit status ${LASTEXITCODE}: $(($output | Select-Object -Last 5) -join ' '). Next: check pyenv_conda_channel"
}
Remove-Item "$Environment.unfinished"
$Ansible.Changed = $true
