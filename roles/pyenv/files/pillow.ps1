# SPDX-License-Identifier: GPL-3.0-or-later
# pillow-simd shares the module PIL with Pillow: it goes over it last, without dependencies, and the import proves it.
param([string]$Environment, [string]$Wheel, [string]$Sha256)

$python = Join-Path $Environment 'python.exe'
function Get-Pil { "$(& $python -I -c 'import PIL; print(PIL.__version__)' 2>$null)" }
$Ansible.Changed = $false
if ((Get-Pil) -like '*.post*') { return }
$found = (Get-FileHash -Algorithm SHA256 $Wheel).Hash
if ($found -ne $Sha256) {
    throw "${Wheel}: expected SHA-256 $Sha256; found $found. Next: correct pyenv_pillow_wheel or pyenv_pillow_sha256"
}
if ($Ansible.CheckMode) { $Ansible.Changed = $true; return }
$output = & cmd.exe /c "`"$python`" -m pip --no-input install --no-index --no-deps --force-reinstall `"$Wheel`" 2>&1"
if ($LASTEXITCODE -ne 0) { throw "pip: expected success; found exit status ${LASTEXITCODE}: $(($output | Select-Object -Last 3) -join ' ')" }
$version = Get-Pil
if ($version -notlike '*.post*') {
    throw "PIL.__version__: expected .post in it, as pillow-simd's has; found '$version'. Next: check which wheel pyenv_pillow_wheel is"
}
$Ansible.Changed = $true
